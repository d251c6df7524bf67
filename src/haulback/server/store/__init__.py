"""The database of the server, SQLite or PostgreSQL; the only package with SQL."""
