"""Every argument and option of every command has a description in its help."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cyclopts import App

from haulback.cli.main import app as commands


def _all_commands(app: App, before: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name in app:
        if not name.startswith("-"):
            below = app[name]
            yield from _all_commands(below, (*before, name))
            if below.default_command:
                yield " ".join((*before, name)), below


def test_every_argument_and_option_of_every_command_has_a_description():
    silent = [
        f"{name} {argument.name}"
        for name, command in _all_commands(commands)
        for argument in command.assemble_argument_collection()
        if argument.show and not argument.parameter.help
    ]
    assert not silent


def test_every_command_has_a_description():
    silent = [name for name, command in _all_commands(commands) if not command.help]
    assert not silent
