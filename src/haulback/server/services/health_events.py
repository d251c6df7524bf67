"""Events about silent nodes, an unusable server key, and a certificate that ends soon.

Each finding has a `once` text, so that several servers and restarts report it once.
"""

from __future__ import annotations

from pathlib import Path

from haulback.contract.events import Event, EventKind
from haulback.server.caller import SYSTEM, Node
from haulback.server.key_vault import certificate_end
from haulback.server.services import own_key
from haulback.server.services.app import App
from haulback.server.store import events, nodes
from haulback.server.store.engine import Connection
from haulback.units import DAY_MS, counted, utc

_DOWN_MS = 90_000  # milliseconds of silence after which a node is reported as down
_EVERY_MS = 15_000  # time between two checks of the server's health
_WARNED_MS = 14 * DAY_MS  # time before the end of a certificate
_NODE_KINDS = (EventKind.NODE_DOWN.value, EventKind.NODE_UP.value)


def look(app: App) -> None:
    """Add events about nodes, key and certificate; does nothing between two checks."""
    now = app.clock.now_ms()
    passed = now - app.health_at
    if abs(passed) < _EVERY_MS:
        return
    if not 0 <= passed < _DOWN_MS:
        # The server started, was suspended, or its clock was set: no node could reach it before.
        app.watched_since = now
    app.health_at = now
    with app.store.read() as sql:
        of_nodes = [_of_node(sql, node, now, app.watched_since) for node in nodes.nodes(sql)]
        news = [event for event in of_nodes if event]
    news += [event for event in (_of_key(app, now), _of_certificate(app, now)) if event]
    if news:
        with app.store.write() as sql:
            events.add_many(sql, news)


def _of_node(sql: Connection, node: Node, now: int, since: int) -> Event | None:
    """The event of a node that became silent while the server was listening, or that is connected
    again.
    """
    if node.seen is None:
        return None
    last = events.last_kind(sql, node.guid, _NODE_KINDS)
    was_silent = last == EventKind.NODE_DOWN.value
    # A server that has just started waits before it reports a node as down; a node that sends a
    # request is up.
    is_silent = now - (node.seen if was_silent else max(node.seen, since)) >= _DOWN_MS
    if is_silent == was_silent:
        return None
    kind = EventKind.NODE_DOWN if is_silent else EventKind.NODE_UP
    text = f"the node {node.name} has been silent since {utc(node.seen)}" if is_silent else None
    return Event(
        kind=kind,
        time=now,
        subject=node.guid,
        subject_name=node.name,
        text=text or f"the node {node.name} is connected again",
        data={"lastSeen": node.seen},
        once=f"{kind.value} {node.guid} {node.seen // _DOWN_MS}",
    )


def _of_key(app: App, now: int) -> Event | None:
    """The event of a server key with which the next start would fail; at most once a day."""
    if not (why := own_key.trouble(app.vault, app.store)):
        return None
    return _of_server(now, why, f"{EventKind.KEY_TROUBLE.value} {now // DAY_MS}")


def _of_certificate(app: App, now: int) -> Event | None:
    """The event of a server certificate that ends soon; at most once a day."""
    end = certificate_end(Path(app.certificate)) if app.certificate else None
    if end is None or end - now > _WARNED_MS:
        return None
    days = (end - now) // DAY_MS
    state = f"expires in {counted(days, 'day')}" if end > now else "has expired"
    text = f"the certificate {app.certificate} of the server {state}; renew it"
    return _of_server(now, text, f"CERTIFICATE {end} {now // DAY_MS}")


def _of_server(now: int, text: str, once: str) -> Event:
    return Event(
        kind=EventKind.KEY_TROUBLE,
        time=now,
        subject=SYSTEM.guid,
        subject_name="server",
        text=text,
        once=once,
    )
