"""Policy decisions as pure functions: due times, retention, assignment.  No input or output."""
