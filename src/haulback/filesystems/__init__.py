"""File systems on a machine's disks, read in a sandbox.

The entry point is `browser.Browser`; the modules below `reading` run only in the sandbox.
"""
