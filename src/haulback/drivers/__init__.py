"""Drivers: hypervisors, disk images and block devices behind Protocols."""
