"""Shipped test helpers: fakes, crash simulation and conformance suites for extensions."""
