"""Callers: a person, a program of a person or a node, with roles and visible projects."""

from __future__ import annotations

import msgspec

from haulback.contract.roles import ADMINS, NODES
from haulback.server.nodes import Node
from haulback.server.scope import EVERYTHING, Scope
from haulback.wire import Named, label

# A token's first letters tell a login, an API token and a node's session apart.
USER_TOKEN, API_TOKEN, NODE_TOKEN = "hbu_", "hbt_", "hbn_"


class Account(msgspec.Struct):
    """Somebody with a password.  `projects` None: all of them."""

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
        """As the origin of what it asks for."""
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
