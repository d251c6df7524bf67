"""Confirmation before a destructive command."""

from __future__ import annotations

import sys

from haulback.errors import Malformed


def agree_to(yes: bool) -> None:
    """Ask on a terminal for confirmation.  Raises Malformed without a terminal, or after a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Malformed("nothing was done: there is no terminal for the confirmation; add --yes")
    if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise Malformed("nothing was done")
