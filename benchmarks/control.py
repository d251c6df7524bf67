"""Benchmark of the task queue, compared with a reference server and a peer, on one PostgreSQL in
one run.

`python -m benchmarks.control [--tasks N] [--peer PYTHON]`; PYTHON has procrastinate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
from tests import databases

from benchmarks.control_site import Client, Site, fill, site

_SCRIPT = """
local guids = {%s}
local i = 0
request = function()
  i = i + 1
  local guid = guids[(i %% #guids) + 1]
  local body = string.format('{"value": %%d}', i %% 100)
  return wrk.format("PUT", "/api/tasks/" .. guid .. "/progress", nil, body)
end
"""
Figures = dict[str, float]
ROUNDS = 3


def wrk(port: int, token: str, path: str, script: str = "", seconds: int = 4) -> float:
    """Requests per second over 16 connections."""
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "-H", f"authorization: Bearer {token}"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command += ["-s", file.name] if script else []
        url = f"http://127.0.0.1:{port}{path}"
        text = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text:
        raise RuntimeError(text)
    return float(text.partition("Requests/sec:")[2].split()[0])


def each(call: Callable[[], Any], count: int) -> float:
    """Median seconds of one call."""
    for _ in range(5):
        call()
    took = []
    for _ in range(count):
        begun = time.perf_counter()
        call()
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


def cycle(people: Client, mover: Client, body: Any) -> None:
    """Submit a task, see it offered, take it, and finish it."""
    [task] = people("POST", "/api/tasks/connectivity-test", body)
    [_offer] = mover("GET", "/api/tasks/queued?size=1")
    path = f"/api/tasks/{task['guid']}/state"
    mover("PUT", path, "RUNNING")
    mover("PUT", path, "FINISHED")


def running(one: Site, count: int = 16) -> list[str]:
    """Tasks that run on the node."""
    made = [one.people("POST", "/api/tasks/connectivity-test", one.body)[0] for _ in range(count)]
    for task in made:
        one.mover("PUT", f"/api/tasks/{task['guid']}/state", "RUNNING")
    return [str(task["guid"]) for task in made]


def hot(port: int, one: Site, guids: list[str]) -> Figures:
    """List, cycle and progress of a server at `port` that shares the site's database."""
    people, mover = Client(port, one.person), Client(port, one.node)
    quoted = ",".join(f'"{guid}"' for guid in guids)
    listed = "/api/tasks?size=50&page=0"
    found = {"list": wrk(port, one.person, listed)}
    found["cycle"] = 1 / each(lambda: cycle(people, mover, one.body), 60)
    found["progress"] = wrk(port, one.node, "/", _SCRIPT % quoted)
    return found


def beside(url: str, item: Site, guids: list[str]) -> tuple[Figures, Figures]:
    """Medians of Haulback's figures and of the reference's, measured alternately under equal
    conditions.
    """
    with psycopg.connect(url) as sql:
        row = sql.execute("SELECT session FROM node WHERE guid = %s", [item.node_guid]).fetchone()
    assert row
    port = item.port + 1
    arguments = [url, str(port), item.hypervisor, item.node_guid, str(row[0])]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.control_reference", *arguments])
    try:
        _wait(port)
        rounds = [(hot(item.port, item, guids), hot(port, item, guids)) for _ in range(ROUNDS)]
    finally:
        process.terminate()
        process.wait(20)
    ours, theirs = zip(*rounds, strict=True)
    return _median(ours), _median(theirs)


def _median(rounds: Sequence[Figures]) -> Figures:
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def _wait(port: int) -> None:
    for _ in range(200):
        try:
            Client(port)("GET", "/nothing")
        except OSError:
            time.sleep(0.05)
        except RuntimeError:
            return


def batches(one: Site, count: int = 2000) -> float:
    """Tasks per second that are offered, taken and finished in batches of a hundred."""
    begun, done = time.perf_counter(), 0
    while done < count:
        offers = one.mover("GET", "/api/tasks/queued?size=100")
        chosen = [{"guid": offer["guid"]} for offer in offers]
        for state in ("RUNNING", "FINISHED"):
            one.mover("PUT", "/api/tasks/state", {"state": state, "tasks": chosen})
        done += len(chosen)
    return done / (time.perf_counter() - begun)


def latency(item: Site, pollers: int = 1000, count: int = 100) -> list[float]:
    """Seconds from the submission of a task until a node has taken it, with many polling nodes.

    The pollers are raw connections that wait; the task names the node that takes it.
    """
    import socket

    sockets = []
    name = uuid.uuid4().hex
    other = item.people("POST", "/api/nodes", {"name": name})
    text = (
        "GET /api/tasks/queued?size=1 HTTP/1.1\r\nhost: x\r\nprefer: wait=60\r\n"
        f"authorization: Bearer {other['token']}\r\n\r\n"
    )
    for _ in range(pollers):
        made = socket.create_connection(("127.0.0.1", item.port))
        made.sendall(text.encode())
        sockets.append(made)
    time.sleep(2)
    taken: dict[str, float] = {}
    mover, stop = Client(item.port, item.node), threading.Event()
    mover.prefer = "wait=5"

    def take() -> None:
        while not stop.is_set():
            for offer in mover("GET", "/api/tasks/queued?size=1"):
                path = f"/api/tasks/{offer['guid']}/state"
                mover("PUT", path, "RUNNING")
                taken[offer["guid"]] = time.perf_counter()
                mover("PUT", path, "FINISHED")

    thread = threading.Thread(target=take)
    thread.start()
    asked = {}
    for _ in range(count):
        now = time.perf_counter()
        [task] = item.people("POST", "/api/tasks/connectivity-test", item.body)
        asked[task["guid"]] = now
        time.sleep(0.05)
    time.sleep(1)
    stop.set()
    thread.join()
    for made in sockets:
        made.close()
    return sorted(taken[guid] - asked[guid] for guid in asked)


def depth(item: Site, pages: int) -> Figures:
    """Milliseconds of a deep page by cursor, and of the first page; `pages` pages are read to get
    there.
    """
    path, cursor = "/api/tasks?orderBy=priority&direction=asc&size=1000", ""
    first = each(lambda: item.people("GET", f"{path[:-4]}50"), 10)
    for _ in range(pages):
        item.people("GET", path + cursor)
        cursor = f"&cursor={item.people.headers['x-next-cursor']}"
    begin = item.people.headers["x-next-cursor"]
    # The cursor of a page of any size is usable, because only its position matters.
    deep = each(lambda: item.people("GET", f"{path[:-4]}50&cursor={begin}"), 10)
    early = each(lambda: item.people("GET", f"{path[:-4]}50&cursor={_first(item, path)}"), 10)
    return {"first page ms": first * 1000, "early cursor ms": early * 1000, "deep ms": deep * 1000}


def _first(one: Site, path: str) -> str:
    if not hasattr(one, "_first_cursor"):
        one.people("GET", f"{path[:-4]}50")
        one._first_cursor = one.people.headers["x-next-cursor"]  # type: ignore[attr-defined]
    return str(one._first_cursor)  # type: ignore[attr-defined]


def thousand(item: Site) -> float:
    """Seconds of one request for a thousand backups: a thousand EXPORTs and STOREs."""
    seen = [{"uuid": str(uuid.uuid4()), "name": f"m{i}"} for i in range(1000)]
    body = {"hypervisors": [{"guid": item.hypervisor}], "priority": 100}
    [sync] = item.people("POST", "/api/tasks/inventory-sync", body)
    path = f"/api/tasks/{sync['guid']}/state"
    item.mover("PUT", path, "RUNNING")
    result = {"type": "x", "task": sync["guid"], "virtualMachines": seen}
    item.mover("POST", "/api/tasks/inventory", result)
    item.mover("PUT", path, "FINISHED")
    place = {"name": uuid.uuid4().hex, "path": "/d", "node": {"guid": item.node_guid}}
    to = item.people("POST", "/api/backup-destinations", place)["guid"]
    machines = item.people("GET", "/api/virtual-machines")
    wanted = [{"guid": machine["guid"]} for machine in machines]
    export = {"protectedEntities": wanted, "backupDestination": to}
    return each(lambda: item.people("POST", "/api/tasks/export", export), 5)


def peer(python: str, cluster: str, count: int) -> Figures:
    """Procrastinate's figures on the same PostgreSQL."""
    url = databases.new_database(cluster, "peer")
    command = [python, str(Path(__file__).with_name("control_peer.py")), url, str(count)]
    text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=900)
    found: Figures = json.loads(text.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--peer", default="")
    wanted = parser.parse_args()
    result: dict[str, Any] = {}
    with databases.cluster(durable=True) as cluster, tempfile.TemporaryDirectory() as folder:
        if wanted.peer:
            result["procrastinate"] = peer(wanted.peer, cluster, wanted.tasks)
            print(json.dumps(result), flush=True)
        url = databases.new_database(cluster, "bench")
        with site(url, Path(folder)) as queue_site:
            fill(url, min(10_000, wanted.tasks))
            wrk(queue_site.port, queue_site.person, "/api/tasks?size=50&page=0", seconds=2)
            result["memory at 10,000 MiB"] = queue_site.memory_mib()
            fill(url, wanted.tasks)
            guids = running(queue_site)
            result["haulback"], result["reference"] = beside(url, queue_site, guids)
            result["ratio"] = {k: v / result["reference"][k] for k, v in result["haulback"].items()}
            result["memory at all MiB"] = queue_site.memory_mib()
            print(json.dumps(result), flush=True)
            waits = latency(queue_site)
            result["dispatch"] = {
                "p50": waits[len(waits) // 2],
                "p99": waits[int(len(waits) * 0.99)],
            }
            result["batches"] = batches(queue_site)
            result["a thousand in one request"] = thousand(queue_site)
            result["depth"] = depth(queue_site, min(100, wanted.tasks // 1000 - 1))
            fill(url, 100_000, opened=False)
            offer = each(lambda: queue_site.mover("GET", "/api/tasks/queued?size=1"), 20)
            result["offer with 100,000 unopened ms"] = offer * 1000
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
