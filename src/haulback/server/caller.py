"""Callers: accounts, API tokens and nodes, with their roles and the projects that they see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from haulback.contract.nodes import PROTOCOL
from haulback.contract.roles import ADMINS, NODES
from haulback.server.scope import EVERYTHING, Scope
from haulback.wire import Named, label

# A token's first letters tell a login, an API token and a node's session apart.
USER_TOKEN, API_TOKEN, NODE_TOKEN = "hbu_", "hbt_", "hbn_"


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


class Account(msgspec.Struct):
    """An account of a person.  `projects` None: all projects."""

    guid: str
    login: str
    roles: list[str] = msgspec.field(default_factory=lambda: ["administrator"])
    projects: list[str] | None = None
    time_zone: str = "UTC"


class ApiToken(msgspec.Struct):
    """A token for programs, with at most the roles and projects of its account; times in epoch ms.

    `projects` None: those of its account, whatever they are when the token is used.
    """

    guid: str
    name: str
    account: str
    roles: list[str]
    created: int
    expires: int | None = None
    projects: list[str] | None = None


class Caller(msgspec.Struct):
    """`account` for people, `node` for nodes; never both."""

    guid: str
    name: str
    roles: frozenset[str]
    scope: Scope = EVERYTHING
    account: Account | None = None
    node: Node | None = None
    by_program: bool = False  # with an API token

    @property
    def origin(self) -> Named:
        """The caller as the origin of a submitted task."""
        return Named(self.guid, self.name, label("USER"))


def person(account: Account, wanted: str | None = None, *, by_program: bool = False) -> Caller:
    """An account in a request that names the project `wanted`, or none."""
    own = None if account.projects is None else frozenset(account.projects)
    scope, roles = Scope(own, wanted), frozenset(account.roles)
    return Caller(account.guid, account.login, roles, scope, account, None, by_program)


def mover(node: Node) -> Caller:
    """A node."""
    return Caller(node.guid, node.name, NODES, EVERYTHING, None, node)


SYSTEM = Caller("00000000-0000-0000-0000-000000000000", "system", ADMINS)
