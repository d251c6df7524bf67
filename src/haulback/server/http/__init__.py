"""The HTTP API; the only package that uses the web framework."""
