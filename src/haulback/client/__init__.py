"""Python client of the Haulback API."""
