"""A bucket behind a faulty network: no data is lost, and no failure looks like an empty
repository.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from haulback.destinations.confirmed_lists import ConfirmedLists
from haulback.destinations.protocol import IDENTITY, ObjectStore
from haulback.destinations.s3 import S3
from haulback.destinations.store_retries import BACKOFF, Retrying
from haulback.errors import Conflict, Misconfigured, NotFound, OutOfSpace, Unavailable
from haulback.testing.faulty_http import FaultyHttp, HttpFault, faulty_http
from haulback.testing.s3_server import ADMIN
from tests import s3

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def proxy() -> Iterator[FaultyHttp]:
    with faulty_http(s3.server().endpoint) as made:
        yield made


@pytest.fixture
def bucket(proxy: FaultyHttp) -> str:
    proxy.plan, proxy.retry_after = (lambda *_: HttpFault.NONE), 1
    proxy.seen.clear()
    name = s3.new_bucket()
    S3(s3.settings_of(name)).store(IDENTITY, b'{"repository": "x"}')
    return name


def behind(proxy: FaultyHttp, bucket: str, **more: object) -> S3:
    return S3(s3.settings_of(bucket, endpoint=proxy.url, requestTimeout=20, **more))


def patient(store: S3, waits: list[float]) -> ObjectStore:
    """The store in the wrappers of remote stores; `waits` takes the pauses."""
    return ConfirmedLists(Retrying(store, BACKOFF, waits.append))


def once(fault: HttpFault, method: str) -> Callable[[str, str], HttpFault]:
    """A plan: the next request with the method meets the fault, all other requests are passed
    on.
    """
    left = [fault]

    def plan(seen: str, path: str) -> HttpFault:
        return left.pop() if seen == method and left else HttpFault.NONE

    return plan


def always(fault: HttpFault, *methods: str) -> Callable[[str, str], HttpFault]:
    return lambda method, _: fault if method in methods else HttpFault.NONE


@pytest.mark.parametrize("call", ["list", "entries"])
def test_a_web_page_in_place_of_a_list_is_no_empty_destination(proxy, bucket, call):
    store = patient(behind(proxy, bucket), [])
    proxy.plan = always(HttpFault.PAGE, "GET", "HEAD")
    with pytest.raises(Unavailable, match="web page came in place"):
        list(getattr(store, call)("packs"))


def test_a_web_page_for_the_end_of_a_long_list_is_no_end(proxy, bucket):
    direct = S3(s3.settings_of(bucket))
    for number in range(1, 1006):
        direct.store(f"rolls/{number:08d}", b"x")
    store = patient(behind(proxy, bucket), [])
    assert len([*store.list("rolls")]) == 1005

    def page_from_the_second(method: str, path: str) -> HttpFault:
        is_more = "continuation-token" in path
        return HttpFault.PAGE if is_more else HttpFault.NONE

    proxy.plan = page_from_the_second
    assert len([*store.list("rolls")]) == 1005


@pytest.mark.parametrize("name", ["manifests/a", IDENTITY])
def test_a_web_page_in_place_of_an_object_is_no_damage(proxy, bucket, name):
    store = behind(proxy, bucket)
    store.store("manifests/a", b"x")
    proxy.plan = always(HttpFault.PAGE, "GET", "HEAD")
    for call in (store.load, store.info, lambda name: store.load(name, 0, 1)):
        with pytest.raises(Unavailable):
            call(name)


def test_a_conflict_of_requests_is_no_existing_object(proxy, bucket):
    store, waits = behind(proxy, bucket), list[float]()
    proxy.plan = once(HttpFault.CONFLICT, "PUT")
    with pytest.raises(Unavailable, match="another request changed"):
        store.store("manifests/a", b"mine")
    proxy.plan = once(HttpFault.CONFLICT, "PUT")
    patient(store, waits).store("manifests/a", b"mine")
    assert store.load("manifests/a") == b"mine"
    assert len(waits) == 1


def test_a_create_whose_reply_was_lost_is_settled_by_its_content(proxy, bucket, tmp_path: Path):
    store = patient(behind(proxy, bucket), [])
    proxy.plan = once(HttpFault.LOST_REPLY, "PUT")
    store.store("manifests/a", b"mine")
    path = tmp_path / "pack"
    path.write_bytes(b"pack" * 1000)
    proxy.plan = once(HttpFault.LOST_REPLY, "PUT")
    store.adopt("packs/ab/cd", path)
    assert store.load("packs/ab/cd") == b"pack" * 1000
    assert not path.exists()
    with pytest.raises(Conflict):
        store.store("manifests/a", b"another")


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("7", 7, 7),
        ("1000000000", 300, 300),
        ("-5", 0, 1),
        ("soon", 0, 1),
        (formatdate(4e9, usegmt=True), 300, 300),
        (formatdate(1, usegmt=True), 0, 1),
    ],
)
def test_the_pause_that_a_busy_store_asks_for_is_kept_within_five_minutes(
    proxy, bucket, asked: str, least: float, most: float
):
    waits: list[float] = []
    proxy.retry_after, left = asked, [HttpFault.BUSY] * 3

    def busy(method: str, path: str) -> HttpFault:
        return left.pop() if left else HttpFault.NONE

    proxy.plan = busy
    patient(behind(proxy, bucket), waits).store("manifests/a", b"x")
    assert least <= waits[0] <= most
    assert S3(s3.settings_of(bucket)).load("manifests/a") == b"x"


def test_a_slow_drip_ends_at_the_time_limit_of_a_request(proxy, bucket):
    store = S3(s3.settings_of(bucket, endpoint=proxy.url, requestTimeout=1))
    store.store("manifests/a", b"x" * 200)
    proxy.plan = once(HttpFault.SLOW, "GET")
    with pytest.raises(Unavailable):
        store.load("manifests/a")
    assert store.load("manifests/a") == b"x" * 200


@pytest.mark.parametrize(
    ("fault", "kind", "told"),
    [
        (HttpFault.FULL, OutOfSpace, "quota is used up"),
        (HttpFault.EXPIRED, Misconfigured, "have expired.*destination set --secret"),
        (HttpFault.REGION, Misconfigured, "correct `region`.*expecting 'eu-west-1'"),
    ],
)
def test_a_refusal_names_the_setting_and_the_remedy(proxy, bucket, fault, kind, told):
    store = behind(proxy, bucket)
    proxy.plan = always(fault, "PUT", "GET", "HEAD")
    for call in (
        lambda: store.store("manifests/a", b"x"),
        lambda: store.load(IDENTITY),
        lambda: [*store.list("packs")],
    ):
        with pytest.raises(kind, match=told) as caught:
            call()
        assert ADMIN.secret not in caught.value.message
        assert bucket in caught.value.message


def test_a_bucket_that_was_deleted_is_no_missing_object(proxy, bucket):
    store = patient(behind(proxy, bucket), [])
    assert store.load(IDENTITY)
    administrator = s3.administrator()
    administrator.delete_object(Bucket=bucket, Key=IDENTITY)
    administrator.delete_bucket(Bucket=bucket)
    for call in (
        lambda: store.load("manifests/a"),
        lambda: store.info("manifests/a"),
        lambda: [*store.list("packs")],
        lambda: [*store.entries("")],
        lambda: store.delete("manifests/a"),
    ):
        with pytest.raises(Misconfigured, match="bucket does not exist"):
            call()


def test_a_bucket_that_was_made_again_is_no_empty_repository(bucket):
    store = patient(S3(s3.settings_of(bucket)), [])
    assert store.load(IDENTITY)
    s3.administrator().delete_object(Bucket=bucket, Key=IDENTITY)
    for call in (lambda: [*store.list("packs")], lambda: [*store.entries("")]):
        with pytest.raises(Unavailable, match="emptied or made again"):
            call()


def test_a_store_that_forgets_its_identity_object_is_not_empty(proxy, bucket):
    store = patient(behind(proxy, bucket), [])
    assert store.load(IDENTITY)
    proxy.plan = lambda _, path: HttpFault.FORGOTTEN if IDENTITY in path else HttpFault.NONE
    with pytest.raises(NotFound):
        store.load(IDENTITY)
    with pytest.raises(Unavailable, match="is gone"):
        list(store.list("packs"))


def test_an_upload_in_parts_of_a_dead_attempt_is_swept_with_its_mark(bucket):
    store = S3(s3.settings_of(bucket, partSize=5 << 20), "dead-1")
    for owner in ("dead-1", "alive-1"):
        uploads = S3(store.settings, owner).uploads
        upload = uploads.begin("packs/ab/cd")
        uploads.mark("packs/ab/cd", upload)
    assert store.sweep({"alive-1"}) == 1
    assert store.sweep({"alive-1"}) == 0
    assert store.sweep(set()) == 1
    assert not s3.administrator().list_multipart_uploads(Bucket=bucket).get("Uploads")
