"""The client: everything the API can do, by topic."""

from __future__ import annotations

from types import TracebackType

from haulback.client.alarms import Alarms
from haulback.client.api import Api
from haulback.client.calls import Calls
from haulback.client.dashboard import Dashboard
from haulback.client.people import Nodes, Users
from haulback.client.records import Records
from haulback.client.stock import (
    Backups,
    Destinations,
    Hypervisors,
    Machines,
    Mounts,
    Restores,
    Snapshots,
    Workflows,
)
from haulback.client.tasks import Tasks


class Client:
    """A server at `url`, asked with `token`; `trust` is a file with the certificate to expect.

    Threads may share it.  Every call raises the error the server named, and Unavailable when there
    is no answer; what else it may raise is said where it is.  Plain HTTP to another machine is
    Malformed, unless `insecure_http` allows it.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        trust: str | None = None,
        *,
        insecure_http: bool = False,
    ) -> None:
        self.api = Api(url, token, trust, insecure_http=insecure_http)
        calls = Calls(self.api)
        self.tasks = Tasks(calls)
        self.hypervisors, self.machines = Hypervisors(calls), Machines(calls)
        self.destinations, self.backups = Destinations(calls), Backups(calls)
        self.snapshots, self.mounts = Snapshots(calls), Mounts(calls)
        self.restores, self.workflows = Restores(calls), Workflows(calls)
        self.nodes, self.users = Nodes(calls), Users(calls)
        self.records, self.dashboard = Records(calls), Dashboard(calls)
        self.alarms = Alarms(calls)

    @property
    def url(self) -> str:
        """Where the server is."""
        return self.api.url

    def log_in(self, login: str, password: str) -> str:
        """Use a person's name from now on; the token, for later.  Raises Unauthenticated."""
        return self.api.log_in(login, password)

    def log_out(self) -> None:
        """The token is worth nothing any more."""
        self.api.post("/session/logout")
        self.api.token = None

    def close(self) -> None:
        """Let go of the connections; the login stays."""
        self.api.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
