"""Questions before a command that takes something away."""

from __future__ import annotations

import sys

from haulback.errors import Malformed


def agree_to(yes: bool) -> None:
    """Ask on a terminal whether to go on.  Raises Malformed without a terminal, or for a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Malformed("nothing was done: there is no terminal to ask on; say --yes")
    if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise Malformed("nothing was done")
