"""A container of Azure Blob Storage that refuses a request causes an error that names the
setting.
"""

import base64
from collections.abc import Callable

import msgspec
import pytest

from haulback.contract.destination_types import AzureSettings
from haulback.destinations.azure import Azure, open_store
from haulback.destinations.probe import probe, probe_again
from haulback.destinations.registry import open_destination
from haulback.errors import Conflict, HaulbackError, Misconfigured, Unavailable
from tests import azure
from tests.hosts import needs_azurite

pytestmark = needs_azurite


def changed(**more: object) -> AzureSettings:
    return msgspec.structs.replace(azure.settings_of(azure.new_container()), **more)


def refused(kind: type[HaulbackError], call: Callable[..., object], *given: object) -> str:
    with pytest.raises(kind) as caught:
        call(*given)
    assert type(caught.value) is kind
    return caught.value.message


def test_a_wrong_key_names_the_settings():
    wrong = base64.b64encode(b"another key").decode()
    message = refused(Misconfigured, Azure(changed(accountKey=wrong)).load, "haulback.json")
    assert "`accountKey` or `sasToken`" in message
    assert wrong not in message


def test_a_container_that_is_missing_or_was_deleted_is_no_empty_destination():
    store = Azure(changed(container="not-made"))
    for call in (store.load, store.info, store.list, store.entries):
        assert "correct `container`" in refused(
            Misconfigured, lambda n, c=call: list(c(n)), "packs"
        )
    assert "correct `container`" in refused(Misconfigured, store.store, "manifests/a", b"x")
    made = Azure(changed())
    made.store("manifests/a", b"x")
    azure.server().remove_container(made.settings.container)
    assert "`container`" in refused(Misconfigured, made.load, "manifests/a")


def test_settings_without_credentials_are_refused():
    assert refused(Misconfigured, open_store, changed(accountKey=""), "a").startswith("accountKey:")


def test_an_endpoint_that_does_not_answer_names_the_settings():
    store = Azure(changed(endpoint="http://127.0.0.1:1/haulbacktests"))
    assert "check `account`, `endpoint`" in refused(Unavailable, store.load, "index/a")


def test_a_probe_finds_what_a_container_promises_and_leaves_nothing():
    store = Azure(changed(prefix="site"))
    seen = probe(store)
    assert seen
    assert (seen.exclusiveCreate, seen.winners, seen.ranges, seen.links) == (True, 1, True, None)
    assert (seen.mayReplace, seen.mayDelete, seen.listsWrites) == (True, True, True)
    assert seen.clockOffset is not None
    assert abs(seen.clockOffset) < 5_000
    assert list(store.entries("")) == []
    store.store("haulback.json", b"identity")
    assert probe_again(store)


def test_a_prefix_inside_a_repository_is_refused():
    settings = changed(prefix="site")
    Azure(settings).store("haulback.json", b"identity")
    inner = msgspec.structs.replace(settings, prefix="site/inner")
    assert "lies inside the repository" in refused(Conflict, probe, Azure(inner))


def test_a_container_with_a_repository_or_objects_of_others_is_refused_without_a_prefix():
    settings = changed(prefix="site")
    Azure(settings).store("haulback.json", b"identity")
    whole = msgspec.structs.replace(settings, prefix="")
    assert "holds the repository" in refused(Conflict, probe, Azure(whole))
    strange = changed(prefix="photos/2026")
    Azure(strange).store("a.jpg", b"x")
    whole = msgspec.structs.replace(strange, prefix="")
    assert "other programs, such as photos" in refused(Conflict, probe, Azure(whole))


def test_an_address_without_the_account_is_named():
    settings = changed()
    short = settings.endpoint.rpartition("/")[0]
    store = Azure(msgspec.structs.replace(settings, endpoint=short))
    assert "correct `endpoint`" in refused(Misconfigured, store.info, "haulback.json")


def test_the_registry_opens_a_container_with_the_wrappers_of_remote_stores():
    store = open_destination("azure", azure.server().settings(azure.new_container()), "a1")
    store.store("haulback.json", b"{}")
    assert list(store.entries("packs")) == []
