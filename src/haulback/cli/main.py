"""The root command: lazy noun modules, and the one place where errors become exit codes."""

from __future__ import annotations

import sys

from cyclopts import App

import haulback
from haulback.errors import HaulbackError

app = App(name="haulback", help="Open backup and recovery.", version=haulback.__version__)
_NOUNS = {
    "repository": "repository:app",
    "demo": "demo:app",
    "up": "programs:up",
    "server": "programs:server",
    "node": "nodes:app",
    "login": "connection:login",
    "logout": "connection:logout",
    "dashboard": "overview:dashboard",
    "workflow": "overview:workflow",
    "task": "tasks:app",
    "backup": "backups:app",
    "restore": "restores:restore",
    "mount": "restores:mount",
    "migrate": "restores:migrate",
    "cloud": "restores:cloud",
    "agent": "restores:agent",
    "machine": "machines:app",
    "snapshot": "machines:snapshot",
    "hypervisor": "places:hypervisor",
    "destination": "places:destination",
    "tape": "places:tape",
    "user": "people:user",
    "token": "people:token",
    "audit": "people:audit",
    "plan": "records:plan",
    "policy": "records:policy",
    "snapshot-policy": "records:snapshot_policy",
    "rule": "records:rule",
    "schedule": "records:schedule",
    "project": "records:project",
    "node-config": "records:node_config",
    "manager": "records:manager",
    "cluster": "records:cluster",
    "storage": "records:storage",
    "flavor": "records:flavor",
    "network": "records:network",
}
for _name, _where in _NOUNS.items():
    app.command(f"haulback.cli.{_where}", name=_name)


@app.command
def api(method: str, path: str, body: str = "") -> None:
    """Any call to the API, like `haulback api GET /tasks`; BODY is JSON."""
    from haulback.cli.connection import connect
    from haulback.cli.output import dump
    from haulback.wire import parse

    wanted = parse(body.encode()) if body else None
    answer = connect().api.call(method.upper(), path.removeprefix("/api"), wanted)
    if answer is not None:
        dump(answer)


def main() -> None:
    """Run the command line and exit: 0 ok, else the error's own code (docs/reference/cli.md)."""
    try:
        app()
    except HaulbackError as error:
        print(f"haulback: {error.message}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
