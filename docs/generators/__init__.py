"""The generated parts of the pages, a file a subject; each function answers one part as Markdown."""
