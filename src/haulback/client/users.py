"""Users, roles, API tokens, the audit log, and nodes."""

from __future__ import annotations

from haulback.client import record_names
from haulback.client.calls import Calls, Collection, PerishableCollection
from haulback.contract.audit import AuditEntry
from haulback.contract.nodes import ChangedNode, EnrolmentToken, NewNode, NodeRecord
from haulback.contract.tokens import NewToken, Token
from haulback.contract.users import ChangedUser, NewUser, Role, User
from haulback.ids import is_guid


class Users(Collection[User]):
    """Users; `tokens` lists the caller's own API tokens, for administrators all tokens."""

    path, kind, title = "/users", User, "login"

    def __init__(self, calls: Calls) -> None:
        super().__init__(calls)
        self.tokens = Tokens(calls)

    def me(self) -> User:
        """The user who is logged in."""
        return self._calls.one(User, "GET", "/user-info")

    def add(self, new: NewUser) -> User:
        """Create a user."""
        return self._calls.one(User, "POST", self.path, new)

    def change(self, guid: str, wanted: ChangedUser) -> User:
        """Change a user; the user's sessions end."""
        return self._calls.one(User, "PUT", f"{self.path}/{guid}", wanted)

    def roles(self) -> list[Role]:
        """All roles."""
        return self._calls.one(list[Role], "GET", "/roles")

    def audit(
        self, subject: str = "", *, before: int | None = None, size: int = 100
    ) -> list[AuditEntry]:
        """The newest `size` audit entries, newest first.

        `subject` limits the list to one object (guid); `before` to entries with a lower number.
        """
        query = {"subject": subject, "before": before, "size": size}
        return self._calls.one(list[AuditEntry], "GET", "/audit-log", query=query)


class Tokens(Collection[Token]):
    """API tokens. `get` is not available: the API only lists the caller's tokens at once."""

    path, kind = "/api-tokens", Token

    def guid(self, wanted: str) -> str:
        """The guid of a token, by guid, its beginning, or name."""
        if is_guid(wanted):
            return wanted
        return record_names.chosen(self.all(), wanted, "API token", lambda token: token.name).guid

    def add(self, new: NewToken) -> Token:
        """Create an API token; its value is shown only in this response."""
        return self._calls.one(Token, "POST", self.path, new)


class Nodes(PerishableCollection[NodeRecord]):
    """Nodes: the machines that run tasks."""

    path, kind = "/nodes", NodeRecord

    def add(self, name: str) -> NodeRecord:
        """Register a node by hand; its token is shown only in this response."""
        return self._calls.one(NodeRecord, "POST", self.path, NewNode(name))

    def renew_token(self, guid: str) -> NodeRecord:
        """Issue a new token for a node; tasks that run under the old token end."""
        return self._calls.one(NodeRecord, "POST", f"{self.path}/{guid}/token")

    def change(self, guid: str, wanted: ChangedNode) -> NodeRecord:
        """Rename a node, or assign another node configuration."""
        return self._calls.one(NodeRecord, "PUT", f"{self.path}/{guid}", wanted)

    def invite(self) -> str:
        """Create an enrolment token; one node may enrol with it within one hour."""
        return self._calls.one(EnrolmentToken, "POST", f"{self.path}/enrolment").token
