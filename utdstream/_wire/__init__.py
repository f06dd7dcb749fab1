"""The wire: every path, field and message name in one place. Text in, values out; no I/O."""
