"""Haulback: an open backup-and-recovery orchestrator."""

__version__ = "0.1.0"
