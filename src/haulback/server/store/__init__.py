"""What the server remembers, on SQLite or PostgreSQL; the only room that knows SQL."""
