"""Unauthenticated requests are cheap: size and time are limited, and the caller is known from the
request head.
"""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx2
import pytest

from haulback.contract.roles import PUBLIC
from haulback.errors import TooMany
from haulback.ids import new_guid
from haulback.server.http import connection, trusted_proxies
from haulback.server.http.reference import TABLE
from haulback.server.http.request_body import STRANGERS
from haulback.server.services.login_limiter import LoginLimiter
from haulback.server.store.engine import open_store
from haulback.units import MIB
from tests.contract.conftest import Served

_PUBLIC = sorted(key for key, roles in TABLE.items() if roles == PUBLIC)
_FLAT = b"[" + b"[]," * (20 * MIB) + b"[]]"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("served"))
    try:
        made.furnish()
        yield made
    finally:
        made.close()


def dial(served: Served) -> socket.socket:
    host, port = served.server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def head(method: str, path: str, *fields: str) -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: h", *fields, "", "")).encode()


def all_of(line: socket.socket) -> bytes:
    """All bytes until the server closes the connection."""
    found = b""
    while piece := line.recv(65536):
        found += piece
    return found


def error_of(said: bytes) -> tuple[int, str]:
    """(status, code) of a raw response; its body has the shape of every error."""
    top, _, body = said.partition(b"\r\n\r\n")
    found = json.loads(body)
    assert found["message"]
    assert b"content-type: application/json" in top
    assert found["status"] == int(top.split()[1])
    return found["status"], found["code"]


@pytest.mark.parametrize("key", _PUBLIC)
def test_a_stranger_has_no_use_for_a_large_body(served: Served, key: str):
    method, _, path = key.partition(" ")
    sent = {"content": _FLAT, "headers": {"content-type": "application/json"}}
    answer = httpx2.request(method, f"{served.server.url}/api{path}", timeout=60, **sent)
    assert answer.status_code == (413 if method == "POST" else 200)


@pytest.mark.parametrize("path", ["/session/login", "/nodes/enrol", "/nodes/session"])
def test_what_is_announced_too_large_is_never_asked_for(served: Served, path: str):
    fields = (f"Content-Length: {STRANGERS.size + 1}", "Expect: 100-continue")
    with closing(dial(served)) as line:
        line.sendall(head("POST", f"/api{path}", *fields))
        said = line.recv(65536)
    assert error_of(said) == (413, "too_large")


@pytest.mark.parametrize("key", [k for k in TABLE if k.startswith(("POST", "PUT"))][::9])
def test_no_body_is_asked_for_before_the_caller_is_known(served: Served, key: str):
    method, _, path = key.partition(" ")
    if TABLE[key] == PUBLIC:
        pytest.skip("anybody may")
    with closing(dial(served)) as line:
        fields = ("Content-Length: 1000", "Expect: 100-continue")
        line.sendall(head(method, "/api" + path.replace("{guid}", new_guid()), *fields))
        assert error_of(line.recv(65536)) == (401, "unauthenticated")


def test_a_body_without_a_length_is_cut_at_the_same_bound(served: Served):
    piece = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    with closing(dial(served)) as line:
        line.sendall(head("POST", "/api/session/login", "Transfer-Encoding: chunked"))
        line.sendall(piece * 5)
        assert error_of(line.recv(65536)) == (413, "too_large")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" + b"[]," * 21_000 + b"[]]", 413),
        (b"[" + b"1," * 32_000 + b"1]", 413),
        (b'{"a":' * 3_000 + b"1" + b"}" * 3_000, 400),
        (b"[" * 3_000 + b"]" * 3_000, 400),
        (b"[" * 65_000, 413),
        (b'{"login":' + b'{"a":' * 40 + b"1" + b"}" * 41, 400),
    ],
    ids=["arrays", "numbers", "deep objects", "deep arrays", "open arrays", "deeper than needed"],
)
def test_a_small_body_that_would_become_much_is_refused(served: Served, body: bytes, status: int):
    assert len(body) < STRANGERS.size + 10_000
    answer = served.call("POST", "/api/session/login", body, token=None)
    assert (answer.status_code, answer.json()["status"]) == (status, status)


def test_people_who_are_known_may_send_long_lists(served: Served):
    guids = [new_guid() for _ in range(20_000)]
    answer = served.call("POST", "/api/tasks/delete-finished", guids)
    assert answer.status_code == 201, answer.text
    too_much = b"[" + b"[]," * MIB + b"[]]"
    assert served.call("POST", "/api/tasks/delete-finished", too_much).status_code == 413


def test_a_node_that_proves_itself_in_the_head_brings_a_long_journal(served: Served):
    done = [{"task": new_guid(), "attempt": 1, "results": {"x": "y" * 1000}} for _ in range(200)]
    body = {**served.identity, "version": "1", "done": done}
    assert served.call("POST", "/api/nodes/session", body, token=None).status_code == 413
    auth = (served.identity["guid"], served.identity["secret"])
    url = f"{served.server.url}/api/nodes/session"
    answer = httpx2.post(url, json=body, auth=auth)
    assert answer.status_code == 201, answer.text
    served.mover = answer.json()["token"]
    for wrong in ((auth[0], "x"), (new_guid(), auth[1]), ("", ""), ("\0", "é")):
        assert httpx2.post(url, json=body, auth=wrong).status_code == 413


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same limits with shorter time-outs."""
    for name in ("HEAD_SECONDS", "BODY_SECONDS", "LINGER_SECONDS", "KEEP_ALIVE_SECONDS"):
        monkeypatch.setattr(connection, name, 0.3)


@pytest.mark.parametrize(
    "sent",
    [b"G", b"GET /api/livez HTT", b"GET /api/livez HTTP/1.1\r\n", head("GET", "/api/livez")[:-2]],
)
def test_half_a_head_is_answered_and_closed(served: Served, hasty: None, sent: bytes):
    with closing(dial(served)) as line:
        line.sendall(sent)
        assert error_of(all_of(line)) == (408, "too_slow")


def test_a_connection_that_says_nothing_is_closed(served: Served, hasty: None):
    with closing(dial(served)) as line:
        assert all_of(line) == b""


@pytest.mark.parametrize("brought", [b"", b"{", b'{"login":"admin",'])
def test_a_body_that_does_not_come_is_answered_and_closed(
    served: Served, hasty: None, brought: bytes
):
    with closing(dial(served)) as line:
        line.sendall(head("POST", "/api/session/login", "Content-Length: 60") + brought)
        assert error_of(all_of(line)) == (408, "too_slow")


def test_half_a_head_after_an_answer_is_closed_too(served: Served, hasty: None):
    with closing(dial(served)) as line:
        line.sendall(head("GET", "/api/livez"))
        assert b"200 OK" in line.recv(65536)
        line.sendall(b"GET /api/live")
        assert error_of(all_of(line)) == (408, "too_slow")


def test_a_body_that_nobody_reads_holds_no_connection(served: Served, hasty: None):
    with closing(dial(served)) as line:
        line.sendall(head("GET", "/api/livez", "Content-Length: 60") + b"x")
        assert b"200 OK" in line.recv(65536)
        assert line.recv(65536) == b""


@pytest.mark.parametrize(
    "sent",
    [
        head("GET", "/api/livez", *(f"X-{i}: 1" for i in range(200))),
        head("GET", "/api/livez", f"X-Long: {'x' * 100_000}"),
        head("GET", "/api/livez?" + "x" * 100_000),
        b"GET /api/livez HTTP/1.1\r\nX-Endless: " + b"x" * MIB,
        b"GET /" + b"x" * MIB,
    ],
    ids=["fields", "one field", "line", "endless field", "endless line"],
)
def test_a_head_is_never_larger_than_a_client_needs(served: Served, sent: bytes):
    with closing(dial(served)) as line:
        line.sendall(sent)
        assert error_of(all_of(line)) == (431, "head_too_large")


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00", b"EHLO x\r\n\r\n", "GET /é HTTP/1.1\r\n\r\n".encode()]
)
def test_what_is_not_http_is_told_so(served: Served, sent: bytes):
    with closing(dial(served)) as line:
        line.sendall(sent)
        assert error_of(all_of(line))[0] == 400


def test_new_connections_displace_half_open_ones(served: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "room_for_connections", lambda: 8)
    lines = [dial(served) for _ in range(12)]
    try:
        assert lines[0].recv(10) == b""
        lines[-1].sendall(head("GET", "/api/livez"))
        assert b"200 OK" in lines[-1].recv(65536)
    finally:
        for line in lines:
            line.close()


@pytest.mark.parametrize("fields", [("Content-Length: 60",), ("Transfer-Encoding: chunked",)])
def test_a_client_that_hangs_up_leaves_one_quiet_line(
    served: Served, caplog: pytest.LogCaptureFixture, fields: tuple[str, ...]
):
    caplog.set_level(logging.DEBUG, logger="haulback")
    sent = head("POST", "/api/tasks/export", f"Authorization: Bearer {served.person}", *fields)
    with closing(dial(served)) as line:
        line.sendall(sent)
    with closing(dial(served)) as line:  # later requests get later responses
        line.sendall(sent + b"5\r\n[]   \r\n")
        line.shutdown(socket.SHUT_WR)
    while not [r for r in caplog.records if "closed the connection" in r.getMessage()]:
        assert served.call("GET", "/api/livez", token=None).status_code == 200
    loud = [r for r in caplog.records if r.levelno > logging.DEBUG or r.exc_info]
    assert not loud, loud


def test_a_client_that_leaves_a_long_list_leaves_no_trace(
    served: Served, caplog: pytest.LogCaptureFixture
):
    sent = head("GET", "/api/openapi.json")
    for _ in range(5):
        with closing(dial(served)) as line:
            line.sendall(sent)
    with closing(dial(served)) as line:
        line.sendall(head("GET", "/api/tasks", f"Authorization: Bearer {served.person}"))
    assert served.call("GET", "/api/livez", token=None).status_code == 200
    assert not [r for r in caplog.records if r.levelno > logging.INFO]


def test_forwarded_addresses_are_ignored_unless_a_proxy_is_named(served: Served):
    login = new_guid()
    status_codes = [
        served.call(
            "POST",
            "/api/session/login",
            {"login": login, "password": "guess"},
            token=None,
            headers={"X-Forwarded-For": f"10.0.0.{i}", "Forwarded": f"for=10.0.1.{i}"},
        ).status_code
        for i in range(11)
    ]
    assert status_codes == [401] * 10 + [429]


def test_every_answer_of_the_edge_stands_in_the_document(served: Served, tmp_path: Path):
    paths = served.call("GET", "/api/openapi.json", token=None).json()["paths"]
    for methods in paths.values():
        for one in methods.values():
            assert {"408", "429", "431"} <= one["responses"].keys()
            assert ("413" in one["responses"]) >= ("requestBody" in one)
    assert "64 KiB" in paths["/session/login"]["post"]["responses"]["413"]["description"]


def test_requests_without_end_on_one_connection_are_let_drop(served: Served):
    """A client may pipeline requests, but not thousands of them."""
    with dial(served) as line:
        line.sendall(head("GET", "/api/livez") * 5000)
        with suppress(ConnectionError):
            assert all_of(line).count(b"HTTP/1.1 200") <= 64
    with dial(served) as line:
        line.sendall(head("GET", "/api/livez") * 3 + head("GET", "/api/livez", "Connection: close"))
        assert all_of(line).count(b"HTTP/1.1 200") == 4


def test_connections_whose_bodies_do_not_arrive_are_closed_for_others_too(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "room_for_connections", lambda: 6)
    sent = head("POST", "/api/session/login", "Content-Length: 60000")
    waiting = [dial(served) for _ in range(8)]
    try:
        for line in waiting:
            line.sendall(sent)
        with dial(served) as line:
            line.sendall(head("GET", "/api/livez", "Connection: close"))
            assert b"200 OK" in all_of(line)
    finally:
        for line in waiting:
            line.close()


def test_a_refused_guess_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store, limiter = open_store(f"sqlite:///{tmp_path}/a.db"), LoginLimiter()

    def busy(*_: object) -> bool:
        raise TooMany("later", retryAfter=1)

    monkeypatch.setattr(limiter.hashing, "run", busy)
    for number in range(20):
        with pytest.raises(TooMany):
            limiter.enter(store, f"{number}" * 60_000, "x", "192.0.2.1")
    assert not limiter._wrong
    store.close()


@pytest.mark.parametrize(
    "given", [{"x-forwarded-for": "6.6.6.6", "forwarded": "for=203.0.113.5"}, {}]
)
def test_two_contradicting_forwarded_addresses_are_both_ignored(given: dict[str, str]):
    headers = [(name.encode(), value.encode()) for name, value in given.items()]
    found = dict(trusted_proxies._translated(headers))
    assert b"x-forwarded-for" not in found
