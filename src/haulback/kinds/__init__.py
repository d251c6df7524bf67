"""The kinds of task, one file each, and their table."""
