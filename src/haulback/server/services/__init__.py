"""Services of the server: the decisions behind each operation, one file for each noun."""
