"""Nodes as the server knows them, and the messages of the channel to a node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from haulback.contract.nodes import PROTOCOL


class Node(msgspec.Struct):
    """A data mover as the server knows it; `session` is that of its present process."""

    guid: str
    name: str
    session: str | None
    version: str
    seen: int | None
    staging_total: int
    staging_used: int
    restore_roots: list[str]
    config: str | None = None
    protocol: int = PROTOCOL
    revision: int = 1  # of the repository format that its process can write
    limits: Mapping[str, int] = {}  # what its configuration lets it run at once
    attempt: int | None = None  # for which it speaks in the call at hand, if it says so


class Process(NamedTuple):
    """A process of a node, by its own word."""

    version: str
    restore_roots: list[str]
    revision: int = 1
