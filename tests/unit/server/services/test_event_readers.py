"""Readers that resume: in any order of commits, failures and reads, each event comes once and in
order.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from random import Random

import pytest
import sqlalchemy as sa

from haulback.contract.events import Event, EventKind
from haulback.server.queries import EventQuery
from haulback.server.store import events
from haulback.server.store.engine import Store, open_store
from haulback.server.store.event_tables import event as table
from haulback.server.store.event_tables import event_counter
from tests import databases, shares

CASES = shares.cases("readers")
WRITERS, READERS, STEPS = 3, 2, 14


@pytest.fixture(scope="module")
def store(cluster: str) -> Iterator[Store]:
    made = open_store(databases.migrated_database(cluster, uuid.uuid4().hex))
    yield made
    made.close()


class History:
    """Writers with open transactions, a step that numbers, and readers that resume."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store, self.chance = store, Random(seed)
        self.open: dict[int, tuple[sa.Connection, list[str]]] = {}
        self.committed: set[str] = set()
        self.seen: list[list[tuple[int, str]]] = [[] for _ in range(READERS)]
        self.made = 0

    def write(self, writer: int) -> None:
        if writer not in self.open:
            self.open[writer] = (self.store.engine.connect(), [])
            self.open[writer][0].begin()
        sql, texts = self.open[writer]
        self.made += 1
        texts.append(str(self.made))
        subject = str(uuid.UUID(int=writer))
        made = Event(
            kind=EventKind.NODE_UP, time=1, subject=subject, subject_name="", text=texts[-1]
        )
        events.add(sql, made)

    def end(self, writer: int) -> None:
        """Commit the transaction of a writer, or roll it back."""
        sql, texts = self.open.pop(writer, (None, []))
        if sql is None:
            return
        if self.chance.random() < 0.8:
            sql.commit()
            self.committed.update(texts)
        else:
            sql.rollback()
        sql.close()

    def number(self) -> None:
        with self.store.write() as sql:
            events.number_some(sql)

    def read(self, reader: int) -> None:
        """Continue to read from the last number, a few events at a time."""
        seen = self.seen[reader]
        wanted = EventQuery(after=seen[-1][0] if seen else 0, size=self.chance.randint(1, 4))
        with self.store.read() as sql:
            seen += [(event.number, event.text) for event in events.page(sql, wanted)]

    def run(self) -> None:
        for _ in range(STEPS):
            step = self.chance.choice([self.write, self.write, self.end, self.read, self.number])
            if step == self.number:
                self.number()
            else:
                step(self.chance.randrange(READERS if step == self.read else WRITERS))
        for writer in list(self.open):
            self.end(writer)
        self.number()
        for reader in range(READERS):
            for _ in range(self.made):
                self.read(reader)


@pytest.mark.parametrize("seed", CASES.seeds)
def test_a_reader_that_resumes_sees_each_committed_event_once(store: Store, seed: int) -> None:
    with store.write() as sql:
        sql.execute(sa.delete(table))
        sql.execute(sa.update(event_counter).values(last=0))
    history = History(store, seed)
    history.run()
    for seen in history.seen:
        assert [number for number, _ in seen] == list(range(1, len(history.committed) + 1))
        assert {text for _, text in seen} == history.committed
