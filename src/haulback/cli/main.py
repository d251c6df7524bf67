"""Root command: nouns are loaded on use, and errors become exit codes here."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import App, Parameter

import haulback
from haulback import credentials

app = App(
    name="haulback",
    help="Open backup and recovery.",
    version=haulback.__version__,
    print_error=False,  # `failures` prints every error, as one line
    exit_on_error=False,
    suppress_keyboard_interrupt=False,
)
# (name, module, help); the help stands here because modules are loaded only on use, and replaces
# the docstring of the command; a list of commands shows its first sentence
_UP = """Run everything on this machine: server, node and a destination in --data.

The first user is admin; the password comes from --password-file, from HAULBACK_ADMIN_PASSWORD,
or is generated and printed once.  --lease is the number of seconds after which a silent node
loses its tasks.
"""
_FAR_END = """Remote driver process that a node starts over SSH.

The command serves the libvirt at URL, with new images in STORAGE, over standard input and output.
Nodes start this command for hypervisors at qemu+ssh://…; users do not need it.
"""
_LOGIN = """Log in and save the token in a file that only this user may read.

The password comes from --password-file, HAULBACK_ADMIN_PASSWORD, the terminal, or stdin.
"""
_PROTECT = """Protect machines in one step: policy, schedule, mails.

The machines are all with --all, or those of --match and --tag, including later ones.  Times like
22:00 or "22:00 Europe/Berlin", days like mon-fri, durations like 36h, keeps like 7d,4w,12m;
--copy-to gets a copy of each backup; --mail addresses receive reports of failures.  Without a
zone, this machine's zone applies.
"""
_EVENTS = """Events: ends of tasks, alarms and the like, as they happen.

The newest events are listed, the newest last; --follow prints events until it is interrupted.
--subject is an object by its name, guid or beginning of a guid.
"""
_NODE = """Run a node, list nodes, enrol another node.

The first run of a node needs an enrolment token (`haulback node token`): in --token-file, on
standard input (--token -), or in HAULBACK_ENROLMENT_TOKEN.

Files are restored only below a --restore-root; --trust is the server's own certificate.  iSCSI
targets listen at --iscsi (ADDRESS:PORT, or the next free port); without it iSCSI is off.
"""
_DEMO = """Back up, change, destroy and restore a machine; verify every byte.

The command exits with 0 only if every byte is identical.  Without --once the server keeps
running for inspection.  --running boots a guest on its own libvirt, as root, and removes all
traces at the end.
"""
_NOUNS = (
    ("up", "programs:up", _UP),
    ("server", "server_program:app", "Run the server alone; back up and restore its database."),
    ("node", "nodes:app", _NODE),
    ("far-end", "remote_driver:far_end", _FAR_END),
    ("demo", "demo:app", _DEMO),
    (
        "repository",
        "repository_restore:app",
        "Read, verify, repair and restore from a repository without a server.",
    ),
    ("login", "connection:login", _LOGIN),
    ("logout", "connection:logout", "End the login."),
    ("protect", "protect:protect", _PROTECT),
    ("status", "status:status", "Late machines, running tasks and next fires on one screen."),
    (
        "dashboard",
        "dashboard:dashboard",
        "Protection, last day's backups and used space.",
    ),
    ("report", "reports:app", "Reports of backups as text, HTML or PDF; chargeback."),
    ("alarm", "alarms:app", "Alarms for operators, with their age."),
    ("notify", "notifications:app", "Rules and channels: mail, webhooks, monitors."),
    ("events", "events:events", _EVENTS),
    ("task", "tasks:app", "List, follow, cancel and remove tasks."),
    (
        "workflow",
        "dashboard:workflow",
        "Workflows: plans of tasks, like a backup's EXPORT and STORE.",
    ),
    ("backup", "backups:app", "Back up machines, list and manage stored backups."),
    ("restore", "restores:restore", "Restore machines or their disks."),
    ("mount", "mounts:app", "List, browse and end mounted backups."),
    (
        "migrate",
        "restores:migrate",
        "Move a machine that runs from a backup to its permanent storage.",
    ),
    ("cloud", "restores:cloud", "Restore objects to a cloud account."),
    ("agent", "restores:agent", "Restore files to a machine with an agent."),
    ("machine", "machines:app", "Protected machines and their settings."),
    ("snapshot", "snapshots:app", "Snapshots that stay on the platform."),
    ("hypervisor", "hypervisors:app", "Hypervisors: sources of backups."),
    (
        "destination",
        "destination_space:app",
        "Backup destinations: retention, verification, keys.",
    ),
    ("tape", "tapes:app", "Tapes and tape managers."),
    ("user", "users:user", "Users and their roles."),
    ("token", "users:token", "API tokens for programs."),
    ("audit", "users:audit", "Audit log of changes."),
    ("plan", "records:plan", "Recovery plans: the machines to restore together, and their order."),
    ("policy", "policies:policy", "Backup policies."),
    ("snapshot-policy", "policies:snapshot_policy", "Snapshot policies."),
    ("retention", "retention:app", "Backups that a rule keeps and removes; confirmations."),
    ("rule", "records:rule", "Rules of backup policies: destinations."),
    ("snapshot-rule", "records:snapshot_rule", "Retention rules of snapshot policies."),
    ("schedule", "schedules:app", "Schedules: their times, fires, pause and run."),
    ("mailing-list", "records:mailing_list", "Mail addresses for reports and notifications."),
    ("credential", "records:credential", "Logins with secrets, for services."),
    ("project", "records:project", "Tenants."),
    ("node-config", "records:node_config", "Limits and windows of nodes."),
    ("manager", "records:manager", "Managers of hypervisors."),
    ("cluster", "records:cluster", "Clusters of hypervisors."),
    ("storage", "records:storage", "Storages of hypervisors."),
    ("flavor", "records:flavor", "Sizes of machines."),
    ("network", "records:network", "Networks of hypervisors."),
)
for _name, _where, _about in _NOUNS:
    app.command(f"haulback.cli.{_where}", name=_name, help=_about)


@app.command
def api(
    method: Annotated[str, Parameter(help="HTTP method, such as GET.")],
    path: Annotated[str, Parameter(help="Path below /api, such as /tasks.")],
    body: Annotated[str, Parameter(help="JSON of the request.")] = "",
) -> None:
    """Call the API, like `haulback api GET /tasks`; BODY is JSON."""
    from haulback.cli.connection import connect
    from haulback.cli.output import dump
    from haulback.wire import parse

    wanted = parse(body.encode()) if body else None
    answer = connect().api.call(method.upper(), path.removeprefix("/api"), wanted)
    if answer is not None:
        dump(answer)


def main() -> None:
    """Run the command line and exit: 0 for success, else the error's own code
    (docs/reference/cli.md).
    """
    # Child processes of a long-running program do not need the database either.
    credentials.take(database=sys.argv[1:2] in (["up"], ["node"], ["far-end"]))
    try:
        app()
    except KeyboardInterrupt as interrupt:
        print(f"haulback: interrupted{interrupt}", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - every error is one line for users
        from haulback.cli.failures import as_haulback_error

        shown = as_haulback_error(error)
        print(f"haulback: {shown.message}", file=sys.stderr)
        sys.exit(shown.exit_code)
