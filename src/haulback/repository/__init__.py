"""Deduplicated, compressed, encrypted backups (docs/design/repository-format.md)."""
