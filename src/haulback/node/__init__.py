"""The node: pulls tasks from the server, runs them and reports their results."""
