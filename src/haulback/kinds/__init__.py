"""The kinds of tasks: one file each, and their seam."""
