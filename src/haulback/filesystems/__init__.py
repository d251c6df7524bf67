"""File systems on a machine's disks, read in a confined process.

The entry point is `browser.Browser`; the modules below `reading` run only in the confined process.
"""
