"""Policy decisions as pure functions without input or output: due times, retention, assignment."""
