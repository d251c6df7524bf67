"""The server: the queue, the catalogue and the API."""
