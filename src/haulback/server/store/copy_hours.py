"""Hours for copies: the destinations on which no copy may start now."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from haulback.contract.copies import Copying
from haulback.policy.copy_window import next_opening
from haulback.server.store.tables import destination as table

_LIMITED = table.c.settings.contains('"startHour":')


class _Settings(msgspec.Struct):
    copying: Copying | None = None


def closed(sql: sa.Connection, now: int) -> set[str]:
    """Destinations whose daily window for copies is closed at `now` (epoch ms)."""
    return set(openings(sql, now))


def openings(sql: sa.Connection, now: int) -> dict[str, int]:
    """The next opening (epoch ms) of each destination whose window is closed at `now`."""
    rows = sql.execute(sa.select(table.c.guid, table.c.settings).where(_LIMITED))
    known = {guid: msgspec.json.decode(text, type=_Settings).copying for guid, text in rows}
    times = {guid: next_opening(copying, now) for guid, copying in known.items() if copying}
    return {guid: opening for guid, opening in times.items() if opening}
