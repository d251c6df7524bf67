"""The states of a task, as pure data and decisions."""
