"""Roles of callers, and the sets of roles that operations name."""

from __future__ import annotations

from typing import Final

Roles = frozenset[str]
VIEWER, OPERATOR, RESTORER = "viewer", "operator", "restore_operator"
ADMINISTRATOR, NODE = "administrator", "node"
ROLES: Final = {
    VIEWER: "Sees everything in its projects, changes nothing",
    OPERATOR: "Backs up, cancels, cleans up, and scans hypervisors",
    RESTORER: "Restores, and cancels tasks",
    ADMINISTRATOR: "Has the rights of all roles of users",
    NODE: "Runs tasks; never the role of a user",
}
PUBLIC: Final[Roles] = frozenset()  # no login is needed
ADMINS: Final[Roles] = frozenset({ADMINISTRATOR})
OPERATORS: Final = ADMINS | {OPERATOR}
RESTORERS: Final = ADMINS | {RESTORER}
WORKERS: Final = OPERATORS | RESTORERS
PEOPLE: Final = WORKERS | {VIEWER}
NODES: Final[Roles] = frozenset({NODE})
PEOPLE_AND_NODES: Final = PEOPLE | NODES
WORKERS_AND_NODES: Final = WORKERS | NODES
