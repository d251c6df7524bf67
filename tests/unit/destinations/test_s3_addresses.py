"""The requests of an S3 destination go where its settings say: to the host, bucket and proxy."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from haulback.contract.destination_types import S3Settings
from haulback.destinations import s3_versions
from haulback.destinations.s3 import S3
from haulback.errors import HaulbackError, Misconfigured

STORE = "http://s3.example.invalid"


class Listener:
    """A proxy that notes the URL of each request and the region that it was signed for."""

    def __init__(self) -> None:
        self.urls: set[str] = set()
        self.regions: set[str] = set()
        noted = self

        class Handler(BaseHTTPRequestHandler):
            def note(self) -> None:
                noted.urls.add(self.path.partition("?")[0])
                signed = self.headers.get("Authorization", "") + self.path.replace("%2F", "/")
                noted.regions.update(re.findall(r"Credential=id/[0-9]+/([^/]+)/s3", signed))
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_HEAD = do_PUT = do_POST = note

            def log_message(self, *given: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def proxy() -> Iterator[Listener]:
    made = Listener()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def ask(settings: S3Settings) -> None:
    """Make requests of each kind, which all fail."""
    store = S3(settings)
    boto = s3_versions.client_of(settings, "id", "secret")
    for call in (
        store.prepare,
        lambda: store.info("index/a"),
        lambda: store.store("index/a", b"x"),
        lambda: boto.head_object(Bucket=settings.bucket, Key="index/a"),
    ):
        with suppress(HaulbackError, Exception):
            call()


@pytest.mark.parametrize(
    ("endpoint", "path_style", "base"),
    [
        (STORE, True, f"{STORE}/shop"),
        (STORE, False, "http://shop.s3.example.invalid"),
        ("http://shop.s3.example.invalid/", False, "http://shop.s3.example.invalid"),
    ],
)
def test_the_bucket_is_in_the_host_or_in_the_path(
    proxy: Listener, endpoint: str, path_style: bool, base: str
):
    more = {"endpoint": endpoint, "pathStyle": path_style, "proxy": proxy.url}
    ask(S3Settings("shop", "id", "secret", createBucket=True, region="eu-north-1", **more))
    assert {url.rstrip("/") for url in proxy.urls} == {base, f"{base}/index/a"}
    assert proxy.regions == {"eu-north-1"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9000", "[::1]:9000"])
def test_a_bucket_cannot_stand_before_an_address(host: str):
    settings = S3Settings("shop", "id", "secret", endpoint=f"http://{host}", pathStyle=False)
    with pytest.raises(Misconfigured, match="pathStyle: false puts the bucket before the host"):
        S3(settings)
