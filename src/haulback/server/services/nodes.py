"""Nodes: enrolment, tokens, configuration and heartbeats."""

from __future__ import annotations

from shlex import quote
from typing import Any

from haulback.contract.nodes import ChangedNode, Enrolled, NewNode, NodeRecord, Space
from haulback.contract.task_states import State
from haulback.errors import Conflict
from haulback.ids import new_guid
from haulback.server.caller import SYSTEM, Caller, Node
from haulback.server.services import node_tasks
from haulback.server.services.app import App
from haulback.server.store import mounts, nodes, task_lifecycle
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.queue_links import SILENT_MS
from haulback.wire import Named, label


def all_nodes(app: App) -> list[Node]:
    """All nodes, ordered by name."""
    with app.store.read() as sql:
        return nodes.nodes(sql)


def node(app: App, guid: str) -> Node:
    """A node by its guid.  Raises NotFound."""
    with app.store.read() as sql:
        return nodes.one_node(sql, guid)


def shown(item: Node, now: int) -> NodeRecord:
    """A node in the form that callers read, at the time `now` (epoch ms)."""
    is_online = item.seen is not None and now - item.seen < SILENT_MS
    return NodeRecord(
        guid=item.guid,
        name=item.name,
        version=item.version,
        state=label("ONLINE" if is_online else "OFFLINE"),
        stagingSpace=Space(item.staging_total, item.staging_used),
        restoreRoots=item.restore_roots,
        protocol=item.protocol,
        lastSeen=item.seen,
        nodeConfig=Named(item.config) if item.config else None,
    )


def node_of_token(app: App, token: str) -> Node | None:
    """The node whose session has this token, None for an unknown or replaced token."""
    with app.store.read() as sql:
        return nodes.node_of(sql, token)


def add(app: App, who: Caller, wanted: NewNode) -> tuple[Node, str]:
    """Add a node that opens no session, and make its token.  Raises Conflict for a name in use."""
    made = Enrolled(new_guid(), new_guid())
    with app.change(who, "add node", made.guid) as change:
        nodes.admit(change.sql, made, wanted.name, change.now)
        token, _ = nodes.renew(change.sql, made.guid)
        added = nodes.one_node(change.sql, made.guid)
        change.after = shown(added, change.now)
    return added, token


def admit(app: App, identity: Enrolled, name: str) -> None:
    """Enrol a node with the identity that it sends; a known node stays unchanged."""
    with app.store.write() as sql:
        nodes.admit(sql, identity, name, app.clock.now_ms())


def renew_token(app: App, who: Caller, guid: str) -> tuple[Node, str]:
    """Replace the token of a node; attempts under the old token end.  Raises NotFound."""
    with app.change(who, "renew node token", guid) as change:
        nodes.one_node(change.sql, guid)
        token, old = nodes.renew(change.sql, guid)
        node_tasks.give_up(app, change.sql, old, "the node of the task got another token")
        return nodes.one_node(change.sql, guid), token


def change(app: App, who: Caller, guid: str, wanted: ChangedNode) -> Node:
    """Rename a node, or give the node another configuration.  Raises NotFound, Conflict."""
    with app.change(who, "change node", guid) as change:
        before = nodes.one_node(change.sql, guid)
        config = before.config
        if wanted.nodeConfig:
            known = SqlCatalogue(change.sql, who.scope)
            config = known.records.get("node-config", wanted.nodeConfig.guid).guid
        nodes.change_node(change.sql, guid, wanted.name or before.name, config)
        after = nodes.one_node(change.sql, guid)
        change.before, change.after = (
            {"name": state.name, "config": state.config} for state in (before, after)
        )
    return after


def remove(app: App, who: Caller, guid: str) -> None:
    """Remove a node, and fail the queued tasks that only this node could run.

    Raises NotFound, or Conflict while the node runs tasks or a hypervisor or a destination is
    bound to the node.
    """
    with app.change(who, "remove node", guid) as change:
        removed = nodes.one_node(change.sql, guid)
        if removed.session and task_lifecycle.of_session(change.sql, removed.session):
            raise Conflict(
                f"{removed.name} runs tasks; stop the node or cancel the tasks first; "
                + _gone(removed)
            )
        known = SqlCatalogue(change.sql)
        places: list[Any] = [*known.places.hypervisors(), *known.places.destinations()]
        if names := [place.name for place in places if place.node == removed.guid]:
            only = f"only {removed.name} reaches {', '.join(names[:5])}"
            raise Conflict(f"{only}; let another node reach it first; {_gone(removed)}")
        if names := [place.name for place in places if removed.guid in place.nodes]:
            raise Conflict(
                f"{removed.name} is one of the nodes of {', '.join(names[:5])}; take the "
                "node out of these first"
            )
        task_lifecycle.end_pinned(
            change.sql, app.task_changes(change.sql), removed.guid, State.FAILED
        )
        nodes.remove_node(change.sql, guid)
        change.before = {"name": removed.name}


def _gone(node: Node) -> str:
    return f"if the node is lost for good: haulback node rm {quote(node.name)} --gone"


def invite(app: App, who: Caller) -> str:
    """An enrolment token, valid for one node and one hour."""
    with app.change(who, "invite node") as change:
        return nodes.invite(change.sql, change.now)


def enrol(app: App, token: str, name: str, protocol: int) -> Enrolled:
    """Spend an enrolment token.  Raises Unauthenticated, Conflict."""
    # This check only reads, so that a guess by an unauthenticated client delays no writer.
    with app.store.read() as sql:
        nodes.check_invited(sql, token, app.clock.now_ms())
    with app.change(SYSTEM, "enrol node") as change:
        made = nodes.enrol(change.sql, token, name, protocol, change.now)
        change.subject, change.after = made.guid, {"name": name}
        return made


def is_enrolled(app: App, identity: Enrolled) -> bool:
    """Whether a node of this guid has this secret."""
    with app.store.read() as sql:
        return nodes.is_enrolled(sql, identity)


def mounts_of(app: App, who: Node) -> list[str]:
    """The guids of the mounts that a node must serve."""
    with app.store.read() as sql:
        return mounts.shared_by(sql, who.guid)


def report_staging(app: App, who: Node, total: int, used: int) -> None:
    """Record that a node is alive, and the size and use of its staging area in bytes."""
    with app.store.write() as sql:
        nodes.seen(sql, who.guid, app.clock.now_ms(), total, used)
