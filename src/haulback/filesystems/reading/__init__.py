"""Disks, partitions, volumes and file systems, as the confined process reads them.

All of it works on hostile bytes: what is wrong in them may raise ValueError, LookupError,
struct.error, ArithmeticError, OSError or RecursionError anywhere, which `child` turns into an
answer.  Nothing here may loop without an end or keep more than a bounded share of a disk.
"""
