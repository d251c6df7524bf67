"""Callers: accounts, API tokens and nodes, with their roles and the projects that they see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from haulback.contract.nodes import PROTOCOL
from haulback.contract.roles import ADMINS, NODES
from haulback.server.scope import EVERYTHING, Scope
from haulback.wire import Named, label

# The prefix of a token tells whether it belongs to a login, an API token or a session of a node.
USER_TOKEN, API_TOKEN, NODE_TOKEN = "hbu_", "hbt_", "hbn_"


class Node(msgspec.Struct):
    """A node as the server records it; `session` is the session of its current process."""

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
    revision: int = 1  # revision of the repository format that the node's process can write
    limits: Mapping[str, int] = {}  # concurrency limits of the node's configuration
    attempt: int | None = None  # the attempt that the current request names, if any


class Process(NamedTuple):
    """A process of a node, as the process describes itself."""

    version: str
    restore_roots: list[str]
    revision: int = 1


class Account(msgspec.Struct):
    """The account of a user.  `projects` None: all projects."""

    guid: str
    login: str
    roles: list[str] = msgspec.field(default_factory=lambda: ["administrator"])
    projects: list[str] | None = None
    time_zone: str = "UTC"


class ApiToken(msgspec.Struct):
    """A token for programs, with at most the roles and projects of its account; times in epoch ms.

    A `projects` of None means the projects of its account at the time of use.
    """

    guid: str
    name: str
    account: str
    roles: list[str]
    created: int
    expires: int | None = None
    projects: list[str] | None = None


class Caller(msgspec.Struct):
    """`account` for users, `node` for nodes; never both."""

    guid: str
    name: str
    roles: frozenset[str]
    scope: Scope = EVERYTHING
    account: Account | None = None
    node: Node | None = None
    by_program: bool = False  # the caller has an API token

    @property
    def origin(self) -> Named:
        """The caller as the origin of a submitted task."""
        return Named(self.guid, self.name, label("USER"))


def person(account: Account, wanted: str | None = None, *, by_program: bool = False) -> Caller:
    """The caller of an account whose request names the project `wanted`, or no project."""
    own = None if account.projects is None else frozenset(account.projects)
    scope, roles = Scope(own, wanted), frozenset(account.roles)
    return Caller(account.guid, account.login, roles, scope, account, None, by_program)


def mover(node: Node) -> Caller:
    """A node."""
    return Caller(node.guid, node.name, NODES, EVERYTHING, None, node)


SYSTEM = Caller("00000000-0000-0000-0000-000000000000", "system", ADMINS)
