"""A store with TLS is used only with the right authority, and the error names the setting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from haulback.destinations.azure import Azure
from haulback.destinations.s3 import S3
from haulback.errors import Misconfigured
from tests import azure, s3
from tests.certificates import of_authority
from tests.hosts import needs_azurite
from tests.tls_front import tls_front

pytestmark = pytest.mark.slow


class Fronts(NamedTuple):
    """The URLs of both stores with TLS, and certificates: theirs and another."""

    s3: str
    azure: str
    right: str
    wrong: str


@pytest.fixture(scope="module")
def fronts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fronts]:
    folders: list[Path] = [tmp_path_factory.mktemp(name) for name in ("right", "wrong")]
    right, wrong = map(of_authority, folders)
    with (
        tls_front(s3.server().endpoint, right[:2]) as bucket,
        tls_front(azure.server().endpoint, right[:2]) as container,
    ):
        yield Fronts(bucket, container, str(right[2]), str(wrong[2]))


def store_of(kind: str, fronts: Fronts, ca: str) -> S3 | Azure:
    if kind == "s3":
        endpoint = {"endpoint": fronts.s3, "ca": ca}
        return S3(msgspec.structs.replace(s3.settings_of(s3.new_bucket()), **endpoint))
    settings = azure.settings_of(azure.new_container())
    return Azure(msgspec.structs.replace(settings, endpoint=fronts.azure, ca=ca))


KINDS = ["s3", pytest.param("azure", marks=needs_azurite)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_whose_authority_is_given_stores_and_reads(kind: str, fronts: Fronts):
    store = store_of(kind, fronts, fronts.right)
    store.store("manifests/a", b"x")
    assert store.load("manifests/a") == b"x"
    assert [item.name for item in store.list("manifests")] == ["manifests/a"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ca", ["wrong", ""])
def test_a_store_of_another_authority_is_refused_and_names_the_setting(
    kind: str, ca: str, fronts: Fronts
):
    store = store_of(kind, fronts, fronts.wrong if ca else "")
    for call in (store.load, store.info, lambda name: list(store.list(name))):
        with pytest.raises(Misconfigured, match="certificate of the store is not trusted") as told:
            call("manifests/a")
        assert "`ca`" in told.value.message
    with pytest.raises(Misconfigured, match="`ca`"):
        store.store("manifests/a", b"x")
