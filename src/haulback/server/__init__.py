"""The server: the task queue, the catalogue and the API."""
