"""Every argument and option of every command has a description in its help."""

from __future__ import annotations

import subprocess
import sys
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


def test_every_command_has_a_line_in_the_list_of_its_noun():
    """A command that is loaded on use has no help in a list, unless its registration has it."""
    start = [sys.executable, "-c", _LISTED]
    listed = subprocess.run(start, capture_output=True, text=True, check=True).stdout.split()
    assert not listed


def test_the_help_of_a_command_says_no_less_than_its_docstring():
    """The help of a registration replaces the docstring, whose further paragraphs would be lost."""
    lost = [
        name
        for name, command in _all_commands(commands)
        if len((command.default_command.__doc__ or "").strip().split("\n\n"))
        > len(command.help.strip().split("\n\n"))
    ]
    assert not lost


_LISTED = """
from cyclopts.command_spec import CommandSpec
from haulback.cli.main import app
for noun in list(app):
    below = {} if noun.startswith("-") else app[noun]._commands
    for name, command in below.items():
        if isinstance(command, CommandSpec) and command.show and not command.help:
            print(f"{noun}/{name}")
"""
