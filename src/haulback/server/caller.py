"""Who asks: a person, a program of theirs, or a node, with roles and the projects they see."""

from __future__ import annotations

import msgspec

from haulback.server.scope import EVERYTHING, Scope
from haulback.server.store.accounts import Account
from haulback.server.store.nodes import Node
from haulback.wire import Named, label

VIEWER, OPERATOR, RESTORER = "viewer", "operator", "restore_operator"
ADMINISTRATOR, NODE = "administrator", "node"
ROLES = {
    VIEWER: "Sees everything in its projects, changes nothing",
    OPERATOR: "Backs up, cancels, cleans up, looks anew at what there is",
    RESTORER: "Restores, and cancels tasks",
    ADMINISTRATOR: "May do everything that people may",
    NODE: "Carries out tasks; never a person's role",
}


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
    return Caller(node.guid, node.name, frozenset({NODE}), EVERYTHING, None, node)


SYSTEM = Caller("00000000-0000-0000-0000-000000000000", "system", frozenset({ADMINISTRATOR}))
