"""A refused request names the field, shows the value and names the expected form."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.errors import Malformed
from haulback.wire import (
    Amount,
    Choice,
    Guid,
    Label,
    Mark,
    Name,
    Named,
    Ref,
    Word,
    dump,
    label,
    parse,
    present,
    read,
    request,
)

GUID = "3f2b8c1e-0d4a-4f6e-9b7a-5c1d2e3f4a5b"
LIMIT = 1 << 53


class Mode(Enum):
    FULL = "full"
    SMALL = "small"


class Inner(msgspec.Struct, rename="camel"):
    disk_name: str
    size: int = 0


class Whole(msgspec.Struct, rename="camel"):
    inner: Inner | None = None
    many: list[Inner] = []
    by_name: dict[str, int] = {}
    any_thing: Any = None


class Needed(msgspec.Struct):
    guid: str
    note: str


class Loose(msgspec.Struct):
    either: int | str
    maybe: int | None


def refused(value: Any, kind: Any, field: str = "f") -> Malformed:
    with pytest.raises(Malformed) as told:
        read(value, kind, field)
    return told.value


def test_a_reference_without_a_field_is_called_a_value():
    told = refused({"name": "new"}, Ref, "")
    assert told.message.startswith('value: {"name":"new"} has no guid; add the record')


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (5, str, "f: 5 is not a text"),
        ("x", int, 'f: "x" is not a number'),
        (True, int, "f: true is not a number"),
        ([], float, "f: [] is not a number"),
        (1.5, int, "f: 1.5 is not a whole number"),
        ("yes", bool, 'f: "yes" is not true or false'),
        (0, bool, "f: 0 is not true or false"),
        ({}, list[int], "f: {} is not an array"),
        ([], dict[str, int], "f: [] is not an object"),
        ("x", Inner, 'f: "x" is not an object'),
        (5, Ref, "f: 5 is not a guid, or an object with one"),
        (
            {"name": "new"},
            Ref,
            'f: {"name":"new"} has no guid; add the record by a request of its own first, '
            "then send its guid",
        ),
        ({"guid": 5}, Ref, 'f: {"guid":5} is not a guid, or an object with one'),
        (5, Choice, "f: 5 is not a guid, or an object with one"),
        ("HALF", Mode, 'f: "HALF" is not one of FULL, SMALL'),
        ({"name": None}, Mode, "f: null is not one of FULL, SMALL"),
        (5, Word, "f: 5 is not a text"),
        ({"name": 5}, Word, "f: 5 is not a text"),
    ],
)
def test_a_wrong_value_is_shown_beside_the_wanted_form(value: Any, kind: Any, message: str):
    told = refused(value, kind)
    assert told.message == message
    assert told.details == {"field": "f"}


def test_a_value_without_a_field_is_called_the_body_or_the_value():
    assert refused([], Inner, "").message == "the body: [] is not an object"
    assert refused("HALF", Mode, "").message == 'value: "HALF" is not one of FULL, SMALL'


def test_a_missing_member_is_named_with_its_path_in_the_spelling_of_the_wire():
    told = refused({"inner": {}}, Whole, "")
    assert told.message == "inner.diskName: is required"
    assert told.details == {"field": "inner.diskName"}
    told = refused({"many": [{"diskName": "a"}, {"diskName": 1}]}, Whole, "body")
    assert told.message == "body.many[1].diskName: 1 is not a text"
    assert refused({"byName": {"a": "x"}}, Whole, "").details == {"field": "byName.a"}


def test_a_required_member_that_may_be_null_may_be_absent():
    assert read({"either": 1, "maybe": None}, Loose, "").maybe is None
    assert read({"either": 1}, Loose, "").maybe is None


def test_a_member_of_two_types_is_passed_on_as_it_is():
    assert read({"either": [1], "maybe": 2}, Loose, "").either == [1]


def test_a_text_stands_for_a_record_that_is_a_reference_only():
    assert read(GUID, Ref, "f") == Ref(GUID)
    assert "is not an object" in refused(GUID, Needed).message


class Bare(msgspec.Struct):
    guid: str


def test_a_record_with_a_guid_alone_is_read_from_a_text():
    assert read(GUID, Bare, "f") == Bare(GUID)


def test_members_are_read_by_the_spelling_of_the_wire_and_unknown_ones_are_passed_over():
    found = read({"inner": {"diskName": "vda", "size": "7"}, "inner2": 5}, Whole, "")
    assert found == Whole(Inner("vda", 7))
    assert read({}, Whole, "") == Whole()
    assert read({"many": [None, {"diskName": "a"}, None]}, Whole, "").many == [Inner("a")]
    assert read({"byName": {"a": 1}}, Whole, "").by_name == {"a": 1}
    assert read({"anyThing": [1, None]}, Whole, "").any_thing == [1, None]


def test_the_place_of_an_item_counts_the_nulls_before_it():
    assert refused([None, 5], list[str], "f").details == {"field": "f[1]"}


@pytest.mark.parametrize("value", [None, {}, {"guid": None}, {"guid": ""}, {"name": "any"}])
def test_an_open_choice_is_an_object_without_a_guid(value: Any):
    assert read({"c": value}, Chosen, "").c in (None, Choice())


class Chosen(msgspec.Struct):
    c: Choice | None = None


def test_a_choice_is_a_guid_or_an_object_with_one():
    assert read(GUID.upper(), Choice, "f") == Choice(GUID)
    assert read({"guid": GUID, "name": "x"}, Choice, "f") == Choice(GUID)
    assert "is not a guid" in refused("", Choice).message
    assert refused("x", Choice).details == {"field": "f"}


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("-5", -5), ("9999999999999999", None), ("1.5", 1.5), ("-0.25", -0.25)],
)
def test_a_number_may_be_typed_as_text(text: str, number: float | None):
    if number is None:
        assert refused(text, float).message == "f: the number is out of range"
        assert refused(text, float).details == {"field": "f"}
    else:
        assert read(text, float, "f") == number


@pytest.mark.parametrize("text", ["", " 1", "1 ", "+1", "1e3", "1_0", ".5", "5.", "0x1", "1" * 17])
def test_a_text_in_another_form_is_no_number(text: str):
    assert refused(text, float).message.endswith("is not a number")
    assert refused(text, int).message.endswith("is not a number")


@given(st.integers(-LIMIT, LIMIT))
def test_every_number_that_a_browser_can_count_is_accepted(number: int):
    found = read(number, int, "f")
    assert found == number
    assert type(found) is int
    assert read(float(number), int, "f") == number
    assert type(read(float(number), int, "f")) is int


@pytest.mark.parametrize("number", [LIMIT + 1, -LIMIT - 1, math.inf, -math.inf, math.nan, 1e300])
def test_a_number_that_loses_digits_is_out_of_range(number: float):
    assert refused(number, float).message == "f: the number is out of range"


@pytest.mark.parametrize("text", ["1.0", "2.50"])
def test_a_typed_decimal_is_a_whole_number_only_where_nothing_stands_behind_the_point(text: str):
    if text == "1.0":
        assert read(text, int, "f") == 1
    else:
        assert refused(text, int).message == 'f: "2.50" is not a whole number'


@pytest.mark.parametrize("text", ["true", "True", "TRUE"])
def test_true_may_be_typed_as_text(text: str):
    assert read(text, bool, "f") is True
    assert read(True, bool, "f") is True


@pytest.mark.parametrize("text", ["false", "False"])
def test_false_may_be_typed_as_text(text: str):
    assert read(text, bool, "f") is False
    assert read(False, bool, "f") is False


def test_a_text_has_at_most_65536_characters_and_no_nul():
    assert read("x" * 65536, str, "f") == "x" * 65536
    for text in ("x" * 65537, "\0", "a\0"):
        told = refused(text, str)
        assert told.message == "f: the text is too long or holds a NUL"
        assert told.details == {"field": "f"}


def test_the_names_of_a_map_are_texts_too():
    assert refused({"a\0": 1}, dict[str, int]).details == {"field": "f"}


@pytest.mark.parametrize("value", ["NEW", {"name": "NEW", "description": "x"}])
def test_a_word_is_any_name_or_an_object_with_it(value: Any):
    assert read(value, Word, "f") == "NEW"


@pytest.mark.parametrize("value", ["FULL", {"name": "FULL"}])
def test_an_enum_is_read_by_its_name_and_not_by_its_value(value: Any):
    assert read(value, Mode, "f") is Mode.FULL
    assert "is not one of" in refused("full", Mode).message


def test_a_long_value_is_cut_in_the_message():
    shown = refused("x" * 58, int).message
    assert shown == f'f: "{"x" * 58}" is not a number'
    shown = refused("x" * 59, int).message
    assert shown == f'f: "{"x" * 56}... is not a number'


def test_a_value_of_an_unknown_type_is_passed_on():
    marker = object()
    assert read(marker, Any, "f") is marker
    assert read(None, int | None, "f") is None
    assert read("5", int | None, "f") == 5


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_an_empty_body_is_told_to_be_json(body: bytes):
    with pytest.raises(Malformed, match=r"^the request body is empty; send JSON$"):
        parse(body)


@pytest.mark.parametrize("body", [b"{", b"\xff", b'"\xff"', b"[" * 100_000])
def test_a_body_that_is_no_json_is_told_why(body: bytes):
    with pytest.raises(Malformed, match=r"^the request body is not JSON: ."):
        parse(body)


def nested(depth: int) -> bytes:
    return b'[{"a":' * (depth // 2) + b"[" * (depth % 2) + b"]" * (depth % 2) + b"}]" * (depth // 2)


@pytest.mark.parametrize("depth", [2, 3, 99, 100])
def test_a_body_may_be_nested_a_hundred_deep(depth: int):
    body = nested(depth).replace(b":}", b":1}")
    assert dump(parse(body)) == body


@pytest.mark.parametrize("depth", [101, 102, 300])
def test_a_body_that_is_nested_deeper_is_refused(depth: int):
    with pytest.raises(Malformed, match="nested more than 100 deep"):
        parse(nested(depth).replace(b":}", b":1}"))


@given(st.integers(0, 6), st.integers(0, 6))
def test_an_operation_may_allow_less_depth(depth: int, deepest: int):
    body = b"[" * depth + b"1" + b"]" * depth
    if depth <= deepest:
        assert dump(parse(body, deepest)) == body
    else:
        with pytest.raises(Malformed, match=f"nested more than {deepest} deep"):
            parse(body, deepest)


def test_depth_is_that_of_the_deepest_branch():
    assert parse(b'{"a":1,"b":[[2]],"c":{}}', 3)
    with pytest.raises(Malformed):
        parse(b'{"a":1,"b":[[2]],"c":{}}', 2)
    assert parse(b"7", 0) == 7


JSON = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def nulls(value: Any) -> int:
    if isinstance(value, dict):
        return sum((v is None) + nulls(v) for v in value.values())
    if isinstance(value, list):
        return sum((v is None) + nulls(v) for v in value)
    return 0


@given(JSON)
def test_nulls_are_taken_out_at_every_depth_and_nothing_else_changes(value: Any):
    found = present(value)
    assert nulls(found) == 0
    assert present(found) == found
    if nulls(value) == 0:
        assert found == value


def test_nulls_leave_their_neighbours_in_place():
    assert present({"a": [1, None, {"b": None, "c": 2}], "d": None}) == {"a": [1, {"c": 2}]}


def test_an_answer_leaves_out_defaults_and_describes_its_enums():
    assert dump(Named(GUID)) == f'{{"guid":"{GUID}"}}'.encode()
    typed = Named(GUID, "a", label("VM"))
    assert b'"type":{"name":"VM","description":"Vm"}' in dump(typed)
    assert label("BACKUP_CLEANUP") == Label("BACKUP_CLEANUP", "Backup cleanup")
    assert hash(Ref(GUID)) == hash(Ref(GUID))
    assert {typed, Choice(), Choice(GUID)}


@pytest.mark.parametrize("kind", [Ref, Choice, Named, Label])
def test_references_and_labels_cannot_be_changed(kind: type[msgspec.Struct]):
    one = kind(*["x"] * sum(1 for f in msgspec.structs.fields(kind) if f.required))
    with pytest.raises(AttributeError):
        setattr(one, kind.__struct_fields__[0], "y")


def test_a_request_is_read_from_the_bytes_of_an_object():
    assert request(b'{"guid":"g","note":"n"}', Needed) == Needed("g", "n")
    with pytest.raises(Malformed, match=r"^the body: \[\] is not an object$") as told:
        request(b"[]", Needed)
    assert told.value.details == {"field": ""}


def test_a_value_with_bounds_is_read_like_a_value_without():
    assert read("5", Amount, "size") == 5
    assert read(["5"], list[Amount], "sizes") == [5]
    with pytest.raises(Malformed, match=r'^size: "many" is not a number$') as told:
        read("many", Amount, "size")
    assert told.value.details == {"field": "size"}


def test_a_typed_whole_number_loses_no_digits():
    assert read(str(LIMIT - 1), int, "size") == LIMIT - 1
    with pytest.raises(Malformed, match=r"^size: the number is out of range$"):
        read(str(LIMIT + 1), int, "size")


def accepts(kind: Any, value: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Amount, (0, 1, LIMIT)),
        (Guid, (GUID, "0" * 8 + "-0000" * 3 + "-" + "f" * 12)),
        (Name, ("a", "x" * 400, "ä b")),
        (Mark, ("a", "x" * 120, "ä b")),
    ],
)
def test_a_report_may_hold_values_within_the_bounds(kind: Any, values: tuple[Any, ...]):
    assert all(accepts(kind, value) for value in values)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Amount, (-1, LIMIT + 1, 1.5, "1")),
        (Guid, (GUID.upper(), GUID + "0", "0" + GUID, GUID.replace("-", ""), "", f"XX{GUID}XX")),
        (Name, ("", "x" * 401, 5)),
        (Mark, ("", "x" * 121, 5)),
    ],
)
def test_a_report_is_refused_for_values_beyond_the_bounds(kind: Any, values: tuple[Any, ...]):
    assert not any(accepts(kind, value) for value in values)


def test_an_empty_reference_has_no_guid_and_an_unnamed_one_no_name():
    assert Choice().guid is None
    assert (Named(GUID).name, Named(GUID).type) == ("", None)
