"""Parsers of disks, partitions, volumes and file systems, which run in the sandbox.

All input is hostile: any function may raise ValueError, LookupError, struct.error, ArithmeticError,
OSError or RecursionError for damaged data; `sandbox_main` turns them into an error response. No
function may loop without end or keep more than a bounded share of a disk in memory.
"""
