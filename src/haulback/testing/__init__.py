"""Shipped test tools for extensions: fakes, crash simulation and conformance suites."""
