"""Every struct of the contract can be encoded and decoded, in the spellings that clients use."""

from __future__ import annotations

import types
from collections import Counter
from enum import Enum
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulback import contract
from haulback.contract.project_access import ProjectAccess
from haulback.contract.reports import GroupBy, Measure
from haulback.errors import Malformed
from haulback.wire import Choice, Ref, Word, dump, parse, read

Struct = type[msgspec.Struct]
MODULES = [
    import_module(f"haulback.contract.{one.name}") for one in iter_modules(contract.__path__)
]


def declared(base: type) -> list[Any]:
    """The classes of a base that the modules of the package declare themselves."""
    return [
        kind
        for module in MODULES
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, base) and kind.__module__ == module.__name__
    ]


STRUCTS = declared(msgspec.Struct)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(1 << 53), 1 << 53),
    float: st.floats(-1e15, 1e15),
    bool: st.booleans(),
    str: NAMES,
    bytes: st.binary(max_size=20),
    Word: NAMES,
    Any: NAMES,
    Ref: st.uuids().map(lambda guid: Ref(str(guid))),
    Choice: st.none() | st.uuids().map(str),
    msgspec.Struct: st.just(Choice()),
}
SCALARS[Choice] = SCALARS[Choice].map(Choice)


@cache
def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of an annotated type."""
    inner = get_args(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return st.one_of(*(st.none() if item is type(None) else values(item) for item in inner))
    if get_origin(kind) is list:
        return st.lists(values(inner[0]), max_size=2)
    if get_origin(kind) is dict:
        return st.dictionaries(NAMES, values(inner[1]), max_size=2)
    if get_origin(kind) is Literal:
        return st.sampled_from(inner)
    if kind in SCALARS:
        return SCALARS[kind]
    if issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    return structs(kind)


@cache
def structs(kind: Struct) -> st.SearchStrategy[Any]:
    """Structs of a type; a struct that contains its own type ends the recursion."""
    hints = get_type_hints(kind)
    members = {name: st.deferred(lambda hint=hint: values(hint)) for name, hint in hints.items()}
    return st.builds(kind, **members)


def as_portals_send(value: Any) -> Any:
    """JSON of a request in another spelling: enums as objects, references as whole records."""
    if isinstance(value, Enum):
        return {"name": value.name, "description": "in words"}
    if isinstance(value, Ref):
        return {"guid": value.guid.upper(), "name": "a record", "members": [{"deep": True}]}
    if isinstance(value, msgspec.Struct):
        members = {name: getattr(value, name) for name in value.__struct_fields__}
        return {name: as_portals_send(member) for name, member in members.items()} | {
            "unknown": [1]
        }
    if isinstance(value, list):
        return [*(as_portals_send(item) for item in value), None]
    if isinstance(value, dict):
        return {name: as_portals_send(item) for name, item in value.items()}
    return value


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)
@settings(max_examples=4)
@given(data=st.data())
def test_a_struct_is_read_back_as_it_was_written(kind: Struct, data: st.DataObject):
    written = data.draw(structs(kind))
    if bytes in get_type_hints(kind).values() or msgspec.Struct in get_type_hints(kind).values():
        return  # pieces and orders are read by their own types rather than by the tolerant reader
    assert read(parse(dump(written)), kind, "") == written


REQUESTS = [kind for kind in STRUCTS if kind.__name__.startswith(("New", "Changed"))]
REQUESTS += [kind for kind in STRUCTS if kind.__name__ in ("Marks", "Schedule")]


@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: kind.__name__)
@settings(max_examples=8)
@given(data=st.data())
def test_a_request_means_the_same_in_the_words_of_a_portal(kind: Struct, data: st.DataObject):
    wanted = data.draw(structs(kind))
    assert read(as_portals_send(wanted), kind, "") == wanted


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)
def test_a_required_member_that_is_missing_is_named(kind: Struct):
    required = [one for one in msgspec.structs.fields(kind) if one.required]
    if not required or kind.__struct_fields__ == ("guid",):
        return
    with pytest.raises(Malformed) as refused:
        read({}, kind, "")
    assert refused.value.details["field"] == required[0].encode_name


def test_a_name_stands_for_one_struct_of_the_whole_package():
    """The OpenAPI document names its components after the structs."""
    names = Counter(kind.__name__ for kind in STRUCTS)
    assert [name for name, count in names.items() if count > 1] == []


# The words of reports come from portals, which write them with hyphens and in lower case.
_OTHERWISE = (ProjectAccess, GroupBy, Measure)
ON_THE_WIRE = [kind for kind in declared(Enum) if kind not in _OTHERWISE]


@pytest.mark.parametrize("kind", ON_THE_WIRE, ids=lambda kind: kind.__name__)
def test_the_name_of_an_enum_member_is_its_value_on_the_wire(kind: type[Enum]):
    assert {one.name: one.value for one in kind} == {name: name for name in kind.__members__}
