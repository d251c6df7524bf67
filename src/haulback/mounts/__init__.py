"""Mounted backups of a node: disks as block devices and file systems as folders, without a copy."""
