"""Haulback: an open backup-and-recovery orchestrator."""

__version__ = "0.2.0"
