"""The client: the whole API, grouped by topic."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

import msgspec

from haulback.client.alarms import Alarms
from haulback.client.api import Api, DryRun, dry_run
from haulback.client.calls import Calls
from haulback.client.dashboard import Dashboard
from haulback.client.events import Events
from haulback.client.notifications import Notifications
from haulback.client.protection import ProtectionStates
from haulback.client.records import Records
from haulback.client.reports import Reports
from haulback.client.resources import (
    Backups,
    Destinations,
    Hypervisors,
    Machines,
    Mounts,
    Restores,
    Snapshots,
    Workflows,
)
from haulback.client.retention import RuleRetentions
from haulback.client.schedules import Schedules
from haulback.client.server import OwnDatabase
from haulback.client.tasks import Tasks
from haulback.client.users import Nodes, Users
from haulback.contract.losses import Losses
from haulback.contract.schedules import Schedule
from haulback.contract.system_schedules import SystemSchedule
from haulback.errors import Unavailable, Unsupported


class Client:
    """Client of the server at `url`, authenticated with `token`.

    `trust` is the path of a PEM file with a certificate to trust. Threads may share a client. Every
    call raises the error that the server reports, and Unavailable when there is no response;
    docstrings name further errors. Plain HTTP to another machine is Malformed, unless
    `insecure_http` allows it.
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
        self.retention = RuleRetentions(calls)
        self.schedules = Schedules(calls, "/schedules", Schedule)
        self.system_schedules = Schedules(calls, "/system-schedules", SystemSchedule)
        self.alarms, self.events = Alarms(calls), Events(calls)
        self.protection = ProtectionStates(calls)
        self.server, self.reports = OwnDatabase(calls), Reports(calls)
        self.notifications = Notifications(calls)
        self._has_dry_runs = False

    @property
    def url(self) -> str:
        """URL of the server."""
        return self.api.url

    def losses(self, act: Callable[[], object]) -> Losses:
        """The objects that the first changing request of `act` would remove; nothing changes.

        Raises the errors of the request, Malformed for a request without a dry run, and Unsupported
        for a server without dry runs, which would ignore `dryRun` and carry out the request.
        """
        self._require_dry_runs()
        try:
            with dry_run():
                act()
        except DryRun as answer:
            try:
                return msgspec.json.decode(answer.content, type=Losses)
            except msgspec.DecodeError:
                raise Unavailable("the server has no dry runs: update the server") from None
        return Losses(total=0)

    def _require_dry_runs(self) -> None:
        if not self._has_dry_runs:
            self._has_dry_runs = self.dashboard.settings().get("dryRuns") is True
        if not self._has_dry_runs:
            raise Unsupported(
                "nothing was done: this older server has no dry runs; update the server, "
                "or add -y to continue without a list"
            )

    def log_in(self, login: str, password: str) -> str:
        """Log in with a password; later calls use the returned session token.

        Raises Unauthenticated for wrong credentials.
        """
        return self.api.log_in(login, password)

    def log_out(self) -> None:
        """Log out: the server revokes the session token."""
        self.api.post("/session/logout")
        self.api.token = None

    def close(self) -> None:
        """Close the connections; the login stays valid."""
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
