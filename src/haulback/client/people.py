"""Who is who: users, roles, API tokens, the audit log, and the nodes."""

from __future__ import annotations

from haulback.client.calls import Calls, Collection
from haulback.inventory.requests import ChangedNode, ChangedUser, NewNode, NewToken, NewUser
from haulback.inventory.shapes import AuditEntry, Invitation, NodeRecord, Role, Token, User


class Users(Collection[User]):
    """Users; `tokens` are one's own API tokens, for administrators all."""

    path, kind, title = "/users", User, "login"

    def __init__(self, calls: Calls) -> None:
        super().__init__(calls)
        self.tokens = Tokens(calls)

    def me(self) -> User:
        """Who is logged in."""
        return self._calls.one(User, "GET", "/user-info")

    def add(self, new: NewUser) -> User:
        """Add one."""
        return self._calls.one(User, "POST", self.path, new)

    def change(self, guid: str, wanted: ChangedUser) -> User:
        """Change one, whose logins end."""
        return self._calls.one(User, "PUT", f"{self.path}/{guid}", wanted)

    def roles(self) -> list[Role]:
        """All roles."""
        return self._calls.one(list[Role], "GET", "/roles")

    def audit(
        self, subject: str = "", *, before: int | None = None, size: int = 100
    ) -> list[AuditEntry]:
        """The newest entries, about one object or all, older than entry number `before`."""
        query = {"subject": subject, "before": before, "size": size}
        return self._calls.one(list[AuditEntry], "GET", "/audit-log", query=query)


class Tokens(Collection[Token]):
    """API tokens.  There is no `get`: the API shows all of one's own at once."""

    path, kind = "/api-tokens", Token

    def add(self, new: NewToken) -> Token:
        """A token for programs, shown this once."""
        return self._calls.one(Token, "POST", self.path, new)


class Nodes(Collection[NodeRecord]):
    """The machines that do the work."""

    path, kind = "/nodes", NodeRecord

    def add(self, name: str) -> NodeRecord:
        """A node of somebody's own making; its token is shown this once."""
        return self._calls.one(NodeRecord, "POST", self.path, NewNode(name))

    def renew_token(self, guid: str) -> NodeRecord:
        """Another token for a node; what it ran under the old one is over."""
        return self._calls.one(NodeRecord, "POST", f"{self.path}/{guid}/token")

    def change(self, guid: str, wanted: ChangedNode) -> NodeRecord:
        """Rename it, or give it another configuration."""
        return self._calls.one(NodeRecord, "PUT", f"{self.path}/{guid}", wanted)

    def invite(self) -> str:
        """A token with which one node may enrol within the hour."""
        return self._calls.one(Invitation, "POST", f"{self.path}/enrolment").token
