"""Events over HTTP: the list with its cursor, and streams that resume."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from haulback.client.client import Client
from haulback.contract.events import Event, EventKind
from haulback.ids import new_guid
from haulback.server.http import event_stream
from haulback.server.main import Server, ServerSettings
from haulback.server.services import stream_limit
from haulback.server.store import events
from tests import databases
from tests.contract.conftest import PASSWORD, Served
from tests.contract.test_access import user
from tests.contract.test_transport import is_error

STREAM = {"accept": "text/event-stream"}


def tell(served: Served, *texts: str, subject: str = "", project: str | None = None) -> None:
    with served.app.store.write() as sql:
        for text in texts:
            made = Event(
                kind=EventKind.NODE_DOWN,
                time=served.app.clock.now_ms(),
                subject=subject or new_guid(),
                subject_name="n1",
                project=project,
                text=text,
            )
            events.add(sql, made)


def rows(served: Served, query: str, token: str | None = "") -> tuple[list[Any], str | None]:
    answer = served.call("GET", f"/api/events{query}", token=token)
    assert answer.status_code == 200, answer.text
    return answer.json(), answer.headers.get("x-next-cursor")


def blocks(answer: httpx2.Response) -> Iterator[dict[str, str]]:
    """The blocks of a stream that hold data or comments."""
    block: dict[str, str] = {}
    for line in answer.iter_lines():
        if not line:
            yield block
            block = {}
            continue
        name, _, value = line.partition(":")
        block[name or "comment"] = value.strip()


def streamed(served: Served, query: str = "", last: str = "", token: str = "") -> Any:
    headers = {**STREAM, "authorization": f"Bearer {token or served.person}"}
    headers |= {"last-event-id": last} if last else {}
    return served.http.stream("GET", f"/api/events{query}", headers=headers)


def test_events_are_listed_in_pages_in_both_directions(served: Served):
    about = new_guid()
    tell(served, *(f"n{nth}" for nth in range(5)), subject=about)
    newest, cursor = rows(served, f"?subject={about}&size=2")
    assert ([row["text"] for row in newest], cursor) == (["n4", "n3"], str(newest[-1]["number"]))
    older, _ = rows(served, f"?subject={about}&size=9&before={cursor}")
    assert [row["text"] for row in older] == ["n2", "n1", "n0"]
    first, cursor = rows(served, f"?subject={about}&size=2&after=0")
    assert [row["text"] for row in first] == ["n0", "n1"]
    rest, cursor = rows(served, f"?subject={about}&after={cursor}")
    assert ([row["text"] for row in rest], cursor) == (["n2", "n3", "n4"], str(rest[-1]["number"]))
    assert rows(served, f"?subject={about}&after={cursor}") == ([], cursor)
    for wrong in ("after=1&before=2", "kind=NO", "subject=x", "after=-1"):
        assert is_error(served.call("GET", f"/api/events?{wrong}"), 400), wrong


def test_the_end_of_a_task_is_an_event_at_once_and_agrees_with_the_last_change(served: Served):
    guid = served.taken()
    served.finish(guid, {"type": "FULL", "snapshotTime": 1, "size": 1, "read": 1, "stored": 1})
    [end], _ = rows(served, f"?subject={guid}")
    assert end["kind"]["name"] == "TASK_ENDED"
    assert (end["data"]["type"], end["data"]["state"]) == ("EXPORT", "FINISHED")
    assert end["data"]["protectedEntity"]["name"] == "db"
    changed = served.call("GET", "/api/tasks/modification-timestamps").json()["value"]
    assert changed >= end["time"] == served.task(guid)["finishTime"]


def test_a_stream_resumes_after_the_last_event_without_a_gap(served: Served):
    about = new_guid()
    with streamed(served, f"?subject={about}") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        source = blocks(answer)
        start = next(source)["id"]
        tell(served, "seen", subject=about)
        block = next(source)
    assert block["event"] == "NODE_DOWN"
    assert json.loads(block["data"])["text"] == "seen"
    assert int(block["id"]) > int(start)
    tell(served, "missed", subject=about)
    with streamed(served, f"?subject={about}&after=0", last=block["id"]) as answer:
        source = blocks(answer)
        next(source)
        tell(served, "next", subject=about)
        assert [json.loads(next(source)["data"])["text"] for _ in range(2)] == ["missed", "next"]


def test_a_position_of_another_database_starts_at_the_newest_event(served: Served):
    with streamed(served, last="99999999") as answer:
        assert answer.headers["x-incomplete"] == "true"
        assert int(next(blocks(answer))["id"]) < 99999999
    with streamed(served, last="x1") as answer:
        answer.read()
        assert is_error(answer, 400)


def test_a_stream_is_quiet_but_alive_and_ends_with_its_login(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.05)
    token = served.login().headers["x-session-token"]
    served.http.cookies.clear()
    with streamed(served, "?kind=HOLD_LIFTED", token=token) as answer:
        source = blocks(answer)
        next(source)
        assert next(source) == {"comment": ""}
        served.call("POST", "/api/session/logout", token=token)
        assert [block for block in source if block != {"comment": ""}] == []


def test_a_login_has_a_limited_number_of_streams(served: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stream_limit, "MOST_STREAMS", 2)
    many, other = user(served, "viewer"), user(served, "viewer")
    with streamed(served, token=many):
        with streamed(served, token=many), streamed(served, token=many) as third:
            third.read()
            assert is_error(third, 429)
            assert third.headers["retry-after"] == "15"
            with streamed(served, token=other) as answer:
                assert answer.status_code == 200
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with streamed(served, token=many) as answer:
                if answer.status_code == 200:
                    return
            time.sleep(0.02)
        pytest.fail("the place of an ended stream is not free again")


def test_a_restricted_caller_streams_the_events_of_its_projects(served: Served):
    about = new_guid()
    token = user(served, "viewer", projects=["pa"])
    with streamed(served, f"?subject={about}&after=0", token=token) as answer:
        source = blocks(answer)
        next(source)
        tell(served, "shared", subject=about)
        tell(served, "theirs", subject=about, project="pb")
        tell(served, "mine", subject=about, project="pa")
        assert json.loads(next(source)["data"])["text"] == "mine"
    shown, _ = rows(served, f"?subject={about}", token=token)
    assert [row["text"] for row in shown] == ["mine"]
    shown, _ = rows(served, f"?subject={about}&project-uuid=pb")
    assert [row["text"] for row in shown] == ["theirs"]


def test_the_client_and_the_command_follow_events(served: Served, tmp_path: Path):
    about = new_guid()
    tell(served, "first", subject=about)
    with Client(served.server.url, served.person) as client:
        source = client.events.follow(after=0, subject=about)
        assert next(source).text == "first"
        threading.Timer(0.05, tell, (served, "second"), {"subject": about}).start()
        assert next(source).text == "second"
    command = [sys.executable, "-m", "haulback", "events", "--follow", "--after", "0"]
    environment = {"HAULBACK_SERVER": served.server.url, "HAULBACK_TOKEN": served.person}
    with subprocess.Popen(
        [*command, "--subject", about], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(2)]
        process.terminate()
    assert ["first" in lines[0], "second" in lines[1]] == [True, True]


def test_a_stream_of_one_server_tells_events_of_another(tmp_path: Path, cluster: str):
    url = databases.new_database(cluster, uuid.uuid4().hex)
    served = Served(tmp_path, url)
    other = Server(ServerSettings(data=tmp_path, port=0, password=PASSWORD, database=url))
    thread = threading.Thread(target=other.run)
    thread.start()
    try:
        headers = {**STREAM, "authorization": f"Bearer {served.person}"}
        address, about = f"{other.url}/api/events", new_guid()
        with httpx2.stream("GET", f"{address}?subject={about}", headers=headers) as answer:
            source = blocks(answer)
            start = int(next(source)["id"])
            numbers = []
            for nth in range(5):
                tell(served, str(nth), subject=about)
                block = next(source)
                assert json.loads(block["data"])["text"] == str(nth)
                numbers.append(int(block["id"]))
        assert numbers == sorted(numbers)
        assert numbers[0] > start
    finally:
        other.stop()
        thread.join()
        served.close()
