"""Confirmation before a destructive command: its options, and the question on the terminal."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from haulback.errors import Malformed


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Consent:
    """Answers to the question that a destructive command asks."""

    yes: Annotated[
        bool,
        Parameter(
            name=["-y", "--yes"],
            negative="",
            env_var="HAULBACK_YES",
            help="Continue without a question.",
        ),
    ] = False
    dry_run: Annotated[
        bool, Parameter(negative="", help="List what would be removed, and change nothing.")
    ] = False

    def agree(self) -> bool:
        """Whether to continue after the list of removals; False for a dry run.

        Raises Malformed after the answer no, and without a terminal to ask on.
        """
        if self.dry_run:
            return False
        if not self.yes:
            ask()
        return True


ASK = Consent()


def require_terminal() -> None:
    """Raise Malformed if no terminal is there to answer a question."""
    if not sys.stdin.isatty():
        raise Malformed(
            "nothing was done: the command asks first, and there is no terminal; add -y to go on, "
            "or --dry-run to see what would be removed"
        )


def ask() -> None:
    """Ask on the terminal whether to continue.  Raises Malformed after any answer but yes."""
    require_terminal()
    try:
        answer = input("Go on? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise Malformed("nothing was done")
