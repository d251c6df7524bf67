"""The node: pulls tasks, does them, and tells the truth about it."""
