"""An attempt leaves no threads of its stores behind."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from haulback.contract.order_records import BackupDestination
from haulback.destinations.read_ahead import ReadAhead
from haulback.node.state_dir import StateDir
from haulback.node.task_repositories import TaskRepositories
from haulback.testing.memory_store import MemoryStore
from haulback.units import MIB

CONFIG = {"bucket": "bucket", "accessKeyId": "key", "secretAccessKey": "secret"}


def test_the_threads_of_a_store_end_with_its_attempt(tmp_path: Path):
    progress: Any = SimpleNamespace(call_server=lambda ask: ask(), hide=lambda _: None, log=print)
    link: Any = SimpleNamespace(secrets=lambda *_: {})
    home = StateDir(tmp_path, [])
    repositories = TaskRepositories("task-1", progress, link, home)
    record = BackupDestination(guid="g", name="bd", driver="s3", config=CONFIG)
    store: Any = repositories.store(record)
    while not isinstance(store, ReadAhead):
        store = store._destination
    memory = store._destination = MemoryStore()
    memory.store("packs/a", bytes(8 * MIB))
    before = set(threading.enumerate())
    for at in range(4):
        store.load("packs/a", at * MIB, MIB)
    threads = set(threading.enumerate()) - before
    assert threads
    repositories.close()
    home.close()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
