"""`haulback policy` and `snapshot-policy`: policies, and previews of their auto-assignment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from haulback.cli.arguments import Members, RecordWord
from haulback.cli.connection import connect
from haulback.cli.output import Output, dump, show, text
from haulback.cli.records import noun, with_members
from haulback.cli.submit_options import watch
from haulback.client.client import Client
from haulback.client.records import Policies
from haulback.errors import NotFound

_CHANGES = (text("change"), text("guid"), text("name"))


def _policies(name: str, topic: str) -> App:
    app = noun(name, topic, "priority", "vmCount", asks=True)

    def policies_of(client: Client) -> Policies[Any]:
        collection: Policies[Any] = getattr(client.records, topic)
        return collection

    _add_preview(app, policies_of)
    _add_retry(app, policies_of)
    return app


def _add_preview(app: App, policies_of: Callable[[Client], Policies[Any]]) -> None:
    @app.command
    def preview(
        name: Annotated[
            str, Parameter(help="Policy: name, guid or its beginning; a new name with --new.")
        ],
        *member: Members,
        new: Annotated[bool, Parameter(help="Preview a policy that does not exist yet.")] = False,
        output: Output = "table",
    ) -> None:
        """Show the machines that auto-assignment would add to a policy, and those that it would
        remove.

        Words like priority=80 change the policy for the preview only; --new drafts a policy.
        """
        client = connect()
        known = policies_of(client)
        stored = None if new else known.find(name)
        before = msgspec.to_builtins(stored.what) if stored else {}
        wanted = with_members({"name": name, **before}, member, known.struct, client)
        result = known.preview(wanted, stored.guid if stored else None)
        if output == "json":
            dump(result)
            return
        rows = [
            {"change": change, "guid": machine.guid, "name": machine.name}
            for change, machines in (("assigned", result.assigned), ("removed", result.removed))
            for machine in machines
        ]
        show(rows, _CHANGES, output)


def _add_retry(app: App, policies_of: Callable[[Client], Policies[Any]]) -> None:
    @app.command
    def retry(
        name: RecordWord,
        *,
        wait: Annotated[bool, Parameter(help="Follow the tasks to their end.")] = False,
    ) -> None:
        """Repeat exactly what failed in the last run of a policy; --wait follows the tasks."""
        client = connect()
        guid = policies_of(client).find(name).guid
        ended = client.events.page(policy=guid, kind=["RUN_ENDED"], size=1).rows
        if not ended:
            raise NotFound(f"no run of the policy {name} has ended yet")
        heads = [task.guid for task in client.tasks.retry_run(str(ended[0].data["run"]))]
        print("\n".join(heads))
        if wait:
            watch(client, heads)


policy = _policies("policy", "backup_policies")
snapshot_policy = _policies("snapshot-policy", "snapshot_policies")
