"""Changes of the proof level of stored backups, and of increment bases."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from haulback.contract.order_records import IncrementBase
from haulback.server.store import tables
from haulback.server.store.base_tables import lost_base
from haulback.server.store.lost_bases import lose
from haulback.server.store.rows import json_text
from haulback.tasks.record import Task
from haulback.wire import JsonObject

Signer = Callable[[bytes], str]


class ProofLedger:
    """`inventory.ledger.ProofChanges` on a connection."""

    def __init__(self, sql: sa.Connection, now: int, sign: Signer | None) -> None:
        self._sql, self._now, self._sign = sql, now, sign

    def verified(self, backup: str) -> None:
        table = tables.backup.c
        where = (table.guid == backup, table.level == "STORED", table.status == "SUCCESS")
        self._sql.execute(sa.update(tables.backup).where(*where).values(level="VERIFIED"))

    def booted(self, backup: str, evidence: JsonObject, task: Task) -> None:
        assert self._sign
        where = (tables.backup.c.guid == backup, tables.backup.c.status == "SUCCESS")
        raised = sa.update(tables.backup).where(*where).values(level="BOOTED")
        if self._sql.execute(raised).rowcount != 1:
            return  # the backup was removed meanwhile: it needs no proof
        whole = {**evidence, "backup": backup, "time": self._now, "task": task.guid}
        text = json_text(whole | {"node": task.node, "hypervisor": task.ref("hypervisor")})
        # The evidence is stored with the backup, so that it does not burden lists of tasks.
        slim = json_text({k: v for k, v in task.results.items() if k != "evidence"})
        here = tables.task.c.guid == task.guid
        self._sql.execute(sa.update(tables.task).where(here).values(results=slim))
        self._sql.execute(sa.delete(tables.proof).where(tables.proof.c.backup == backup))
        values = {"evidence": text, "signature": self._sign(text.encode())}
        self._sql.execute(sa.insert(tables.proof).values(backup=backup, time=self._now, **values))


class BaseLedger:
    """`inventory.ledger.BaseChanges` on a connection."""

    def __init__(self, sql: sa.Connection) -> None:
        self._sql = sql

    def promote(self, base: IncrementBase) -> None:
        table = tables.backup.c
        whole = sa.select(table.guid).where(
            table.guid == base.backup, table.status == "SUCCESS", table.location_status == "PRESENT"
        )
        if self._sql.scalar(whole) is None:
            return  # a removed or damaged backup is never a base
        keys = (tables.base.c.entity == base.entity, tables.base.c.destination == base.destination)
        self._sql.execute(sa.delete(tables.base).where(*keys))
        lost = lost_base.c
        here = (lost.entity == base.entity, lost.destination == base.destination)
        self._sql.execute(sa.delete(lost_base).where(*here))
        self._sql.execute(sa.insert(tables.base).values(msgspec.structs.asdict(base)))

    def void(self, entity: str, why: str) -> None:
        lose(self._sql, tables.base.c.entity == entity, why)
