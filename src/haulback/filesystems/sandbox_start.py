"""Start of the sandbox: `python -m haulback.filesystems.sandbox_start CONTROL DISKS`."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # msgspec would load this backport, and with it `inspect` and `ast`: 8 of 50 ms of a start.
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    from haulback.filesystems.sandbox_main import main

    main(*sys.argv[1:])
