"""Destinations: dumb stores of named bytes, one file per product behind one Protocol."""
