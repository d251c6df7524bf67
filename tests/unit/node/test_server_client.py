"""The message of a node about a server that is too old."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from haulback.client.api import Api
from haulback.errors import Unsupported
from haulback.ids import new_guid
from haulback.node.server_client import ServerClient
from haulback.node.state_dir import StateDir


class Old(BaseHTTPRequestHandler):
    """A server of an earlier release, without this path."""

    def do_GET(self) -> None:
        body = b'{"message":"Not Found","code":"not_found","details":{},"status":404}'
        self.send_response(404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no log."""


@pytest.fixture
def old() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Old)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_clean_up_by_a_server_that_is_too_old_says_which_side_to_update(old: str, tmp_path: Path):
    home = StateDir(tmp_path / "node", [])
    api = Api(old)
    try:
        with pytest.raises(
            Unsupported, match=r"the server is too old.*update Haulback on the server"
        ):
            ServerClient(api, home).expected(new_guid(), "")
    finally:
        api.close()
        home.close()
