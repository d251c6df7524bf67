"""A store with TLS is used only with the right authority, and the error names the setting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from haulback.contract.destination_types import S3Settings
from haulback.destinations.azure import Azure
from haulback.destinations.s3 import S3
from haulback.destinations.s3_errors import answer_of, problem
from haulback.errors import Misconfigured
from tests import azure, s3
from tests.certificates import of_authority, self_signed
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


@pytest.mark.parametrize("kind", KINDS)
def test_the_name_that_the_certificate_lacks_is_corrected_in_the_endpoint(
    kind: str, fronts: Fronts
):
    elsewhere = {"s3": fronts.s3, "azure": fronts.azure}[kind].replace("127.0.0.1", "localhost")
    store = store_of(kind, fronts._replace(s3=elsewhere, azure=elsewhere), fronts.right)
    with pytest.raises(Misconfigured, match="certificate of the store is for another name"):
        store.load("manifests/a")


@pytest.mark.parametrize("kind", KINDS)
def test_an_authority_as_the_certificate_of_a_store_is_named(kind: str, tmp_path: Path):
    certificate = self_signed(tmp_path)
    behind = s3.server().endpoint if kind == "s3" else azure.server().endpoint
    with tls_front(behind, certificate) as url:
        store = store_of(kind, Fronts(url, url, "", ""), "")
        with pytest.raises(Misconfigured, match="basicConstraints CA:FALSE"):
            store.load("manifests/a")


def test_a_store_that_expects_tls_is_told_from_one_that_refuses_the_request():
    told = "status code: 400 Bad Request: Client sent an HTTP request to an HTTPS server."
    error = problem(answer_of(Exception(told)), S3Settings("shop", "id", "secret"), "a look-up")
    assert isinstance(error, Misconfigured)
    assert error.message.endswith("expects TLS at this address: write https:// in `endpoint`")


def test_a_bucket_whose_name_holds_a_sign_of_tls_has_no_problem_of_tls():
    debug = "Debug source: uri: https://127.0.0.1/tls-mismatch, kind: ConnectionRefused"
    assert answer_of(Exception(f"no answer\n\n{debug}")).code == ""


def test_a_web_server_that_is_no_store_is_named_by_the_endpoint():
    answer = answer_of(Exception("status code: 404 Not Found: nothing here"))
    error = problem(answer, S3Settings("shop", "id", "secret"), "a look-up")
    assert "not one of an S3 store" in error.message
    assert "check `endpoint`" in error.message


def test_wrong_deleting_keys_are_told_by_their_own_settings():
    wrong = {"deleteAccessKeyId": s3.ADMIN.key_id, "deleteSecretAccessKey": "another"}
    store = S3(msgspec.structs.replace(s3.settings_of(s3.new_bucket()), **wrong))
    store.store("manifests/a", b"x")
    with pytest.raises(
        Misconfigured, match="`deleteSecretAccessKey` does not fit `deleteAccessKeyId`"
    ):
        store.delete("manifests/a")


@needs_azurite
def test_a_wrong_deleting_token_is_told_by_its_own_setting():
    token = "sv=2023-11-03&sig=wrong"
    settings = azure.settings_of(azure.new_container(), deleteSasToken=token)
    store = Azure(settings)
    store.store("manifests/a", b"x")
    with pytest.raises(Misconfigured, match="`deleteSasToken`"):
        store.delete("manifests/a")
