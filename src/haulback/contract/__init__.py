"""Request and answer structs of the HTTP API, one module per noun."""
