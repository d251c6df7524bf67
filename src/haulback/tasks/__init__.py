"""The life of a task, as pure data and decisions."""
