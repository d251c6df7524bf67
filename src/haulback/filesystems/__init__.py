"""What lies in the file systems of a machine's disks, read in a confined process.

`browser.Browser` is the way in; everything below `reading` runs in that process only.
"""
