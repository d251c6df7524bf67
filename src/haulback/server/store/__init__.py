"""The database of the server, SQLite or PostgreSQL; the only room that knows SQL."""
