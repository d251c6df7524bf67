"""Benchmark of lists and removals in a long task history: `python -m benchmarks.long_lists --help`.

Lists are requested over HTTP with every sort, filter and depth; a removal of all finished tasks is
timed while another client keeps requesting a list.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from tests import databases
from tests.history import Site, fill

from benchmarks.apart import apart
from haulback.server.store.engine import open_store
from haulback.server.store.task_lists import SORTS

_SECOND, _LONGEST, _OTHERS = 1.0, 5.0, 0.2  # upper limits in seconds


@contextmanager
def served(database: str, count: int) -> Iterator[tuple[httpx2.Client, Site]]:
    """A server with `count` tasks in its history, and a logged-in client."""
    with tempfile.TemporaryDirectory(prefix="haulback-lists-") as folder:
        site, begun = Site(), time.monotonic()
        store = open_store(database or f"sqlite:///{folder}/haulback.db")
        fill(store, site, count, time.time_ns() // 1_000_000)
        store.close()
        print(f"filled with {count} tasks in {time.monotonic() - begun:.0f} s", flush=True)
        with apart(folder, database) as server:
            yield server.http, site


def queries(site: Site, count: int) -> dict[str, dict[str, Any]]:
    """The queries of portal pages, by title."""
    last = count // 100 - 1
    result: dict[str, dict[str, Any]] = {"first page": {}, "page 9999": {"page": 9999, "size": 20}}
    for name in SORTS:
        result[f"sort by {name}"] = {"orderBy": name}
        result[f"sort by {name}, last page, descending"] = {
            "orderBy": name, "direction": "desc", "page": last,
        }  # fmt: skip
    for title, more in filters(site).items():
        result[title] = more
        result[f"{title}, sorted"] = {**more, "orderBy": "finishTime", "page": 3}
    return result


def filters(site: Site) -> dict[str, dict[str, Any]]:
    """Every filter of the list, with values that match many, few and no tasks."""
    return {
        "nameLike few": {"nameLike": "machine-0042"},
        "nameLike many": {"nameLike": "example"},
        "nameLike none": {"nameLike": "nowhere"},
        "text few": {"filter": "machine-0042"},
        "text many": {"filter": "finished"},
        "text none": {"filter": "nowhere"},
        "state": {"state": "FINISHED"},
        "states": {"states": ["FAILED", "CANCELLED"]},
        "type": {"type": "STORE"},
        "machine": {"protected-entity": site.machines[7].guid},
        "destination": {"backup-destination": site.destinations[0].guid},
        "hypervisor": {"hypervisor": site.hosts[0].guid},
        "node": {"node": site.nodes[0]},
        "project": {"project-uuid": site.projects[0]},
        "no backup has it": {"backup": str(uuid.uuid4())},
        "no schedule has it": {"schedule": str(uuid.uuid4())},
        "mounted": {"mounted-backup-assigned": "true"},
        "not mounted": {"mounted-backup-assigned": "false"},
        "changed since": {"modified-since": 0},
        "workflow": {"workflow-execution": str(uuid.uuid4())},
        "all at once": {
            "nameLike": "example", "state": "FINISHED", "type": "EXPORT",
            "backup-destination": site.destinations[1].guid,
        },
    }  # fmt: skip


def lists(http: httpx2.Client, site: Site, count: int) -> dict[str, float]:
    """Seconds of the second of two requests, by title."""
    found = {}
    for title, query in queries(site, count).items():
        for _ in range(2):
            begun = time.monotonic()
            answer = http.get("/tasks", params={"size": 100, **query})
            found[title] = time.monotonic() - begun
            assert answer.status_code == 200, (title, answer.text)
    return found


def removal(http: httpx2.Client) -> dict[str, float]:
    """Seconds of removing all finished tasks, and of the slowest per cent of the other client's
    requests.
    """
    waits: list[float] = []
    over = threading.Event()

    def ask() -> None:
        with httpx2.Client(base_url=http.base_url, headers=http.headers, timeout=60) as other:
            while not over.is_set():
                begun = time.monotonic()
                other.post("/tasks/delete-finished", json=[str(uuid.uuid4())])
                other.get("/tasks", params={"size": 20, "state": "RUNNING"})
                waits.append(time.monotonic() - begun)

    thread = threading.Thread(target=ask)
    thread.start()
    begun = time.monotonic()
    answer = http.delete("/tasks/all-finished")
    took = time.monotonic() - begun
    over.set()
    thread.join()
    assert answer.status_code == 204, answer.text
    left = http.get("/tasks", params={"size": 1}).headers["x-total-count"]
    assert left == "0", left
    slowest = statistics.quantiles(waits, n=100)[98] if len(waits) > 1 else max(waits)
    return {"seconds": took, "others p99": slowest, "others asked": len(waits)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=200_000)
    parser.add_argument("--removed", type=int, default=90_000)
    parser.add_argument("--only", default="", help="lists or removal")
    parser.add_argument("--on", default="", help="sqlite or postgresql")
    parser.add_argument("--json", type=Path, help="write what was measured here")
    given = parser.parse_args()
    facts: dict[str, Any] = {"machine": platform.platform(), "cores": os.cpu_count()}
    with databases.cluster(durable=True) as cluster:
        for name in ("sqlite", "postgresql"):
            if given.on not in name:
                continue
            facts[name] = _measure(given, cluster if name == "postgresql" else "")
    if given.json:
        given.json.write_text(json.dumps(facts, indent=1) + "\n")


def _measure(given: argparse.Namespace, cluster: str) -> dict[str, Any]:
    result: dict[str, Any] = {}

    def database() -> str:
        return databases.new_database(cluster, uuid.uuid4().hex) if cluster else ""

    print("postgresql" if cluster else "sqlite")
    if given.only in "lists":
        with served(database(), given.tasks) as (http, site):
            result["lists"] = lists(http, site, given.tasks)
        for title, took in sorted(result["lists"].items(), key=lambda item: -item[1])[:12]:
            print(f"  {took:6.2f} s  {title}{'' if took <= _SECOND else '  MISSED'}")
    if given.only in "removal":
        with served(database(), given.removed) as (http, _):
            result["removal"] = removal(http)
        met = (
            result["removal"]["seconds"] <= _LONGEST and result["removal"]["others p99"] <= _OTHERS
        )
        print(f"  removal {result['removal']} {'met' if met else 'MISSED'}", flush=True)
    return result


if __name__ == "__main__":
    main()
