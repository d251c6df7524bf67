"""The `haulback` command: one file per noun."""
