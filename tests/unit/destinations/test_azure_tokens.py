"""SAS tokens open a container as far as their permissions and their time allow."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from haulback.destinations.azure import Azure
from haulback.destinations.probe import probe
from haulback.errors import Conflict, Misconfigured
from haulback.testing.azure_server import ACCOUNT, KEY
from tests import azure
from tests.hosts import needs_azurite

pytestmark = [pytest.mark.slow, needs_azurite]
_VERSION = "2018-11-09"


def token(permissions: str, hours: float = 1.0) -> str:
    """A SAS token of the account for its containers and objects, valid for some hours from now."""
    end = (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
    lines = [ACCOUNT, permissions, "b", "co", "", end, "", "", _VERSION, ""]
    signed = hmac.new(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256).digest()
    members = {"sv": _VERSION, "ss": "b", "srt": "co", "sp": permissions, "se": end}
    return urlencode({**members, "sig": base64.b64encode(signed).decode()})


def opened(**secrets: Any) -> Azure:
    settings = azure.settings_of(azure.new_container())
    return Azure(msgspec.structs.replace(settings, accountKey="", **secrets))


def test_a_token_that_adds_and_reads_neither_replaces_nor_deletes():
    store = opened(sasToken=token("rcl"))
    store.store("manifests/a", b"x")
    assert store.load("manifests/a") == b"x"
    assert [item.name for item in store.list("manifests")] == ["manifests/a"]
    with pytest.raises(Conflict):
        store.store("manifests/a", b"y")
    with pytest.raises(Misconfigured, match="`deleteSasToken`"):
        store.delete("manifests/a")
    assert store.load("manifests/a") == b"x"


def test_a_second_token_deletes_what_the_first_one_may_not():
    store = opened(sasToken=token("rcwl"), deleteSasToken=token("rdl"))
    seen = probe(store)
    assert seen
    assert (seen.exclusiveCreate, seen.listsWrites, seen.mayDelete) == (True, True, False)
    store.store("manifests/a", b"x")
    store.delete("manifests/a")
    assert list(store.list("manifests")) == []


def test_a_text_that_is_no_token_is_refused_before_any_request():
    with pytest.raises(Misconfigured, match="`sasToken`"):
        opened(sasToken="nonsense")


@pytest.mark.parametrize("what", ["expired", "changed"])
def test_a_token_that_is_wrong_or_has_expired_is_named(what: str):
    right = token("rcl").replace("sp=rcl", "sp=rcwdl")  # more permissions than were signed
    wrong = token("rcl", hours=-1.0) if what == "expired" else right
    store = opened(sasToken=wrong)
    for call in (store.load, store.info, lambda name: store.store(name, b"x")):
        with pytest.raises(Misconfigured, match="`sasToken`") as told:
            call("haulback.json")
        assert wrong not in told.value.message
