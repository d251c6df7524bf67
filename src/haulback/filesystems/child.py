"""Entry point of the sandbox under its name of version 0.1: `python -m haulback.filesystems.child`.

A mount that was made before an upgrade keeps its process, which starts readers by this name and
sends them the message tags of `records`; all names stay until no such mount can exist.
"""

from __future__ import annotations

import sys

from haulback.filesystems.sandbox_main import main

if __name__ == "__main__":
    main(*sys.argv[1:])
