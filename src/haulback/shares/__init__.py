"""What of a backup is shared on a node: its disks as block devices, its files, nothing copied."""
