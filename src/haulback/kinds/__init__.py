"""Server halves of the task kinds, one file each, and their table."""
