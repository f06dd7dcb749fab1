"""The self-hosted stack: settings, programs, and the supervisor that keeps them running."""
