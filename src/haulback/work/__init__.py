"""Node halves of the task kinds; each file runs the orders of one kind, and imports no other."""
