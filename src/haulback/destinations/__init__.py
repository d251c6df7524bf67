"""Backup destinations: stores of named objects, one driver module per product, one Protocol."""
