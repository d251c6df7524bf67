"""Two servers on one PostgreSQL: a change on one wakes the nodes of the other."""

from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path
from typing import Any

import httpx2

from haulback.server.main import Server, ServerSettings
from tests import databases
from tests.contract.conftest import PASSWORD, Served


def test_a_node_that_waits_at_one_server_hears_of_work_asked_for_at_another(
    tmp_path: Path, cluster: str
):
    url = databases.new_database(cluster, uuid.uuid4().hex)
    served = Served(tmp_path, url)
    other = Server(ServerSettings(data=tmp_path, port=0, password=PASSWORD, database=url))
    thread = threading.Thread(target=other.run)
    thread.start()
    try:
        served.furnish()
        served.rest()
        while served.as_node("GET", "/api/tasks/queued").json():
            served.rest()
        heard: list[Any] = []

        def wait() -> None:
            headers = {"authorization": f"Bearer {served.mover}", "prefer": "wait=19"}
            answer = httpx2.get(f"{other.url}/api/tasks/queued", headers=headers, timeout=30)
            heard.extend(answer.json())

        waiter = threading.Thread(target=wait)
        begun = time.monotonic()
        waiter.start()
        while not any(w.node for w in list(other.app.wakeups._waiting)):
            assert time.monotonic() - begun < 15
        guid = served.export()["guid"]
        waiter.join(15)  # sooner than by its own poll
        assert [task["guid"] for task in heard] == [guid]
    finally:
        other.stop()
        thread.join()
        served.close()
