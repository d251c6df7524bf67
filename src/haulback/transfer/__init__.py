"""Data transfer of whole machines: from a snapshot to staging, and from a backup to a machine."""
