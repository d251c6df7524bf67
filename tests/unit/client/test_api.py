"""The client sends requests as they were made, and raises the error that the server reports."""

from __future__ import annotations

from contextlib import closing

import pytest

from haulback import errors
from haulback.client.api import Api
from haulback.client.client import Client
from haulback.errors import HaulbackError, Malformed, Unauthenticated, Unavailable
from tests.unit.web import Web

JSON = "application/json"


def test_a_request_bears_token_body_and_query(web: Web, client: Client):
    web.says({"a": 1})
    assert client.api.post("/x", {"b": None}, {"q": "ä b"}) == {"a": 1}
    asked = web.last
    assert (asked.method, asked.path, asked.query) == ("POST", "/x", [("q", "ä b")])
    assert asked.body == b'{"b":null}'
    assert asked.headers["authorization"] == "Bearer secret"
    assert asked.headers["content-type"] == JSON
    assert "prefer" not in asked.headers


def test_a_request_without_body_and_token_bears_neither(web: Web):
    web.says({})
    with closing(Api(web.url + "/")) as api:
        api.get("/x")
    headers = {name.lower() for name in web.last.headers}
    assert web.last.path == "/x"
    assert not headers & {"authorization", "content-type", "prefer"}


@pytest.mark.parametrize("method", ["get", "post", "put", "delete"])
def test_each_method_is_sent_and_its_json_returned(web: Web, client: Client, method: str):
    web.says([1, 2])
    assert getattr(client.api, method)("/x") == [1, 2]
    assert web.last.method == method.upper()
    web.says(b"", 200)
    getattr(client.api, method)("/x")
    assert getattr(client.api, method)("/x") is None


@pytest.mark.parametrize(("wait", "sent"), [(0.2, "wait=1"), (1.6, "wait=2"), (30, "wait=30")])
def test_a_long_poll_says_for_how_long(web: Web, client: Client, wait: float, sent: str):
    web.says([])
    client.api.get("/x", wait=wait)
    assert web.last.headers["prefer"] == sent


def test_a_login_is_used_from_then_on(web: Web):
    web.says({}, x_session_token="new")
    with Client(web.url) as client:
        assert client.log_in("admin", "pass") == "new"
        assert web.last.body == b'{"login":"admin","password":"pass"}'
        assert web.last.path == "/session/login"
        client.api.get("/x")
        assert web.last.headers["authorization"] == "Bearer new"
        client.log_out()
        assert web.last.path == "/session/logout"
        client.api.get("/x")
        assert "authorization" not in web.last.headers


def every(kind: type[HaulbackError] = HaulbackError) -> list[type[HaulbackError]]:
    found = [kind]
    for below in kind.__subclasses__():
        found += every(below)
    return [one for one in found if one.__module__ == errors.__name__ and one is not errors.Missing]


@pytest.mark.parametrize("kind", every())
def test_each_error_of_the_server_is_raised_as_the_same_class(
    web: Web, client: Client, kind: type[HaulbackError]
):
    told = {"code": kind.code, "message": "because", "details": {"field": "x"}}
    web.says(told, kind.status)
    with pytest.raises(HaulbackError) as caught:
        client.api.get("/x")
    assert type(caught.value).code == kind.code
    assert (caught.value.message, caught.value.details) == ("because", {"field": "x"})


@pytest.mark.parametrize("details", [None, [], "x", 5])
def test_details_of_another_form_are_left_out(web: Web, client: Client, details: object):
    web.says({"code": "not_found", "message": "no", "details": details}, 404)
    with pytest.raises(errors.NotFound) as caught:
        client.api.get("/x")
    assert caught.value.details == {}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_an_error_of_a_proxy_is_told_from_one_of_the_server(web: Web, client: Client, status: int):
    for body in ({"error": "upstream"}, b"<html>Bad Gateway</html>"):
        web.says(body, status)
        with pytest.raises(
            Unavailable, match=f"^a proxy in front of the server answered with status {status}"
        ):
            client.api.get("/x")


def test_a_server_with_tls_that_was_asked_without_is_named_with_https(web: Web, client: Client):
    web.says(b"<html>The plain HTTP request was sent to HTTPS port</html>", 400)
    with pytest.raises(Unavailable, match="write https://"):
        client.api.get("/x")


def test_the_url_of_a_server_may_have_the_path_of_its_api(web: Web):
    web.says([])
    with Client(f"{web.url}/api/") as client:
        client.api.get("/x")
    assert client.url == web.url


def test_an_unknown_error_is_an_error_all_the_same(web: Web, client: Client):
    web.says({"code": "brand_new", "message": "news"}, 400)
    with pytest.raises(HaulbackError, match=r"^news$") as caught:
        client.api.get("/x")
    assert type(caught.value) is HaulbackError


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b'"x"'])
def test_an_error_without_a_reason_names_its_status(web: Web, client: Client, body: bytes):
    web.says(body, 500)
    with pytest.raises(
        Unavailable, match=r"^the server answered with status 500 and without a message;"
    ):
        client.api.get("/x")


def test_another_server_is_told_from_haulback(web: Web, client: Client):
    web.says(b"<html>hello</html>")
    with pytest.raises(Unavailable, match="is this a Haulback server"):
        client.api.get("/x")
    with pytest.raises(Unavailable, match=r"unknown format .* is this a Haulback server"):
        client.tasks.last_change()
    web.answers.clear()
    web.says({"value": "x"})
    with pytest.raises(Unavailable, match="unknown format"):
        client.tasks.last_change()


def test_a_server_that_is_away_is_unavailable(web: Web, client: Client):
    web.http.server_close()
    for ask in (client.api.get, lambda path: client.api.send(path, b"")):
        with pytest.raises(Unavailable, match=f"^{web.url} does not answer: ."):
            ask("/x")
    with pytest.raises(Unavailable, match=f"^{web.url} stopped responding: ."):
        list(client.api.stream("/x", {}))


def test_raw_bytes_are_sent_as_they_are(web: Web, client: Client):
    web.says({"ok": True})
    assert client.api.send("/x", b"\0\xff", {"offset": 5}) == {"ok": True}
    assert (web.last.body, web.last.query) == (b"\0\xff", [("offset", "5")])
    assert web.last.headers["content-type"] == "application/octet-stream"
    assert web.last.headers["authorization"] == "Bearer secret"
    web.answers.clear()
    web.says({"code": "conflict", "message": "no"}, 409)
    with pytest.raises(errors.Conflict):
        client.api.send("/x", b"")


def test_a_stream_arrives_whole_after_its_headers(web: Web, client: Client):
    data, told = bytes(range(256)) * 999, list[str]()
    web.says(data, x_size="9")
    pieces = client.api.stream("/x", {"a": 1}, lambda headers: told.append(headers["x-size"]))
    assert b"".join(pieces) == data
    assert (told, web.last.body, web.last.method) == (["9"], b'{"a":1}', "POST")
    assert web.last.headers["content-type"] == JSON


def test_a_stream_that_breaks_off_is_an_error_and_no_short_file(web: Web, client: Client):
    web.says(b"abc", content_length="9")
    got: list[bytes] = []
    with pytest.raises(Unavailable, match="stopped responding"):
        got.extend(client.api.stream("/x", {}))
    assert b"abc".startswith(b"".join(got))


def test_a_stream_that_is_refused_raises_the_reason(web: Web, client: Client):
    web.says({"code": "unauthenticated", "message": "log in"}, 401)
    with pytest.raises(Unauthenticated, match=r"^log in$"):
        list(client.api.stream("/x", {}))


@pytest.mark.parametrize(
    "url", ["http://example.org", "http://192.0.2.1:8181", "ftp://x", "http://["]
)
def test_plain_http_goes_to_this_machine_only(url: str):
    with pytest.raises(Malformed) as caught:
        Client(url)
    assert caught.value.details == {"field": "server"}


@pytest.mark.parametrize("url", ["https://example.org", "http://localhost", "http://[::1]:81"])
def test_https_and_this_machine_need_no_permission(url: str):
    Client(url).close()
    Client("http://example.org", insecure_http=True).close()


def test_a_trailing_slash_of_the_address_does_not_matter(web: Web):
    assert Client(web.url + "/").url == web.url
