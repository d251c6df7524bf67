"""Errors of a command line that cannot be read, each as one line with the remedy."""

from __future__ import annotations

from cyclopts import CycloptsError, UnknownCommandError, UnusedCliTokensError

from haulback.errors import Malformed


def refused(error: CycloptsError) -> Malformed:
    """The error that says which word of a command line is wrong, and names the help page."""
    error.verbose = False
    words = " ".join(["haulback", *(error.command_chain or ())])
    why = _why(error)
    hint = " See" if why.endswith("?") else "; see"
    return Malformed(f"{why.rstrip('.')}{hint} `{words} --help`")


def _why(error: CycloptsError) -> str:
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        spare = " ".join(map(repr, error.unused_tokens))
        return f"the command does not take the argument {spare}; leave it out"
    line = " ".join(str(error).split())
    if isinstance(error, UnknownCommandError):
        line = line.partition(" Available commands:")[0]  # the help shows the complete list
    return f"{line[:1].lower()}{line[1:]}"
