"""Requests are accepted in every spelling that clients in the field use."""

import contextlib
from enum import Enum
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.errors import Malformed
from haulback.wire import Named, Ref, dump, label, read, request

GUID = "3f2b8c1e-0d4a-4f6e-9b7a-5c1d2e3f4a5b"


class Mode(Enum):
    FULL = "FULL"
    SMALL = "SMALL"


class Ask(msgspec.Struct, rename="camel"):
    protected_entities: list[Ref]
    backup_type: Mode | None = None
    priority: int = 50
    overwrite: bool = False
    backup: Ref | None = None
    note: str | None = None


def ask(**members: Any) -> Ask:
    return request(dump({"protectedEntities": [], **members}), Ask)


def test_a_reference_is_a_guid_or_any_record_that_has_one():
    found = ask(protectedEntities=[GUID, {"guid": GUID.upper(), "policy": {"x": [1]}}, None])
    assert found.protected_entities == [Ref(GUID), Ref(GUID)]


@pytest.mark.parametrize("spelling", ["FULL", {"name": "FULL"}, {"name": "FULL", "description": 1}])
def test_an_enum_is_its_name_or_an_object_with_it(spelling):
    assert ask(backupType=spelling).backup_type is Mode.FULL


def test_numbers_may_be_typed_as_text_and_unknown_members_are_ignored():
    assert ask(priority="60", isDiskLayoutActive=True, time=None).priority == 60


def test_null_means_absent():
    found = ask(priority=None, backupType=None, backup=None)
    assert (found.priority, found.backup_type, found.backup) == (50, None, None)


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"protectedEntities": None}, "protectedEntities"),
        ({"protectedEntities": {}}, "protectedEntities"),
        ({"protectedEntities": [GUID, 5]}, "protectedEntities[1]"),
        ({"protectedEntities": ["no guid"]}, "protectedEntities[0]"),
        ({"backupType": "HALF"}, "backupType"),
        ({"backupType": []}, "backupType"),
        ({"priority": "high"}, "priority"),
        ({"priority": 1.5}, "priority"),
        ({"priority": "1_0"}, "priority"),
        ({"priority": "9" * 5000}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": 10**300}, "priority"),
        ({"overwrite": 1}, "overwrite"),
        ({"note": "a\0b"}, "note"),
    ],
)
def test_bad_input_names_the_field(members, field):
    with pytest.raises(Malformed) as caught:
        ask(**members)
    assert caught.value.details["field"] == field
    assert field in caught.value.message


@pytest.mark.parametrize("body", [b"", b" ", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_malformed(body):
    with pytest.raises(Malformed):
        request(body, Ask)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
MEMBERS = ["protectedEntities", "backupType", "priority", "overwrite", "backup", "note"]


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON))
def test_any_json_is_a_request_or_malformed_and_never_anything_else(value):
    with contextlib.suppress(Malformed):
        assert isinstance(read(value, Ask, ""), Ask)


def test_answers_omit_what_is_absent_and_describe_enums():
    assert dump(Named(GUID, "vm")) == f'{{"guid":"{GUID}","name":"vm"}}'.encode()
    assert label("BACKUP_CLEANUP").description == "Backup cleanup"
