"""JSON codec of the API: requests are read tolerantly, answers are written strictly.

Existing clients send enums as objects or bare strings, references as whole records, guid objects or
bare guids, numbers as text and nulls inside arrays.  A request is a msgspec Struct whose
annotations give the wanted types; `read` accepts all these spellings, ignores unknown members and
names the field in every error.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Annotated, Any, NewType, TypeVar, Union, get_args, get_origin

import msgspec

from haulback.errors import Malformed
from haulback.ids import guid_of

T = TypeVar("T")
_NUMBER = re.compile(r"-?[0-9]{1,16}(\.[0-9]{1,16})?")
_DEEPEST = 100  # nesting levels of JSON, because the decoder recurses
_LIMIT = 1 << 53  # larger JSON numbers lose digits in browsers


class Ref(msgspec.Struct, frozen=True):
    """A reference in a request; only the guid is read."""

    guid: str


class Choice(msgspec.Struct, frozen=True):
    """A reference in a request that may be absent: portals then send an object without a guid."""

    guid: str | None = None


JsonObject = dict[str, Any]
"""A JSON object whose members no struct lists."""
JsonMapping = Mapping[str, Any]
"""The same schema for read-only members."""

# Limits of values in requests.
Amount = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
Guid = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Mark = Annotated[str, msgspec.Meta(min_length=1, max_length=120)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=400)]
Word = NewType("Word", str)
"""An enum value in a request whose values the contract does not list: any name is accepted."""


class Named(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A reference in an answer; `type` is set only where the contract types the reference."""

    guid: str
    name: str = ""
    type: Label | None = None


class Label(msgspec.Struct, frozen=True, gc=False):
    """An enum value in an answer, with its name and a readable description."""

    name: str
    description: str


def label(name: str) -> Label:
    """Make a Label; `label("BACKUP_CLEANUP")` has the description "Backup cleanup"."""
    return Label(name, name.replace("_", " ").capitalize())


def parse(body: bytes, deepest: int = _DEEPEST) -> Any:
    """Decode a JSON body with at most `deepest` nested arrays and objects.  Raises Malformed."""
    if not body.strip():
        raise Malformed("the request body is empty; send JSON")
    try:
        decoded = msgspec.json.decode(body)
        if _depth(decoded, deepest) > deepest:
            raise Malformed(f"the request body is nested more than {deepest} deep")
        return decoded
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"the request body is not JSON: {error}") from None


def _depth(value: object, deepest: int) -> int:
    """Count the nesting levels of arrays and objects, at most to `deepest` + 1."""
    level, depth = [value], 0
    while level and depth <= deepest:
        nested = [v for v in level if isinstance(v, dict | list)]
        level = [x for v in nested for x in (v.values() if isinstance(v, dict) else v)]
        depth += bool(nested)
    return depth


def present(value: object) -> Any:
    """Return `value` without null members and items, at every depth."""
    if isinstance(value, dict):
        return {k: present(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [present(one) for one in value if one is not None]
    return value


def request(body: bytes, kind: type[T]) -> T:
    """Read a request of struct type `kind` from a JSON object.  Raises Malformed."""
    found: T = read(parse(body), kind, "")
    return found


def dump(value: object) -> bytes:
    """Encode an answer as JSON."""
    return msgspec.json.encode(value)


def read(value: Any, kind: Any, field: str) -> Any:
    """Convert `value` to type `kind`; `field` is the path in errors.  Raises Malformed."""
    inner = _optional(kind)
    if inner is not None:
        return None if value is None else read(value, inner, field)
    if get_origin(kind) is Annotated:
        return read(value, get_args(kind)[0], field)
    if get_origin(kind) is list:
        return _list(value, get_args(kind)[0], field)
    if get_origin(kind) is dict and not isinstance(value, dict):
        raise _wrong(field, value, "an object")
    if get_origin(kind) is dict:
        inner = get_args(kind)[1]
        return {_text(k, field): read(v, inner, f"{field}.{k}") for k, v in value.items()}
    if kind in _SCALARS:
        return _SCALARS[kind](value, field)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _enum(value, kind, field)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(value, kind, field)
    return value


def _optional(kind: object) -> Any:
    """The type X of an annotation `X | None`, None for other annotations."""
    if get_origin(kind) in (Union, types.UnionType):
        rest = [arm for arm in get_args(kind) if arm is not type(None)]
        return rest[0] if len(rest) == 1 else None
    return None


def _struct(value: object, kind: type[msgspec.Struct], field: str) -> msgspec.Struct:
    if isinstance(value, str) and kind.__struct_fields__ == ("guid",):
        value = {"guid": value}
    if not isinstance(value, dict):
        raise _wrong(field, value, "an object")
    result: dict[str, Any] = {}
    for member in _members(kind):
        path = f"{field}.{member.encode_name}" if field else member.encode_name
        given = value.get(member.encode_name)
        if given is None and not member.required:
            continue
        if given is None and _optional(member.type) is None:
            raise Malformed(f"{path}: is required", field=path)
        result[member.name] = read(given, member.type, path)
    return kind(**result)


@cache
def _members(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def _list(value: object, kind: object, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(field, value, "an array")
    return [read(item, kind, f"{field}[{i}]") for i, item in enumerate(value) if item is not None]


def _enum(value: object, kind: type[Enum], field: str) -> Enum:
    name = value.get("name") if isinstance(value, dict) else value
    if isinstance(name, str) and name in kind.__members__:
        return kind[name]
    allowed = ", ".join(kind.__members__)
    raise Malformed(f"{field or 'value'}: {_show(name)} is not one of {allowed}", field=field)


def _ref(value: object, field: str) -> Ref:
    guid = value.get("guid") if isinstance(value, dict) else value
    if isinstance(value, dict) and value and guid in (None, ""):
        raise Malformed(
            f"{field or 'value'}: {_show(value)} has no guid; add the record by a request "
            "of its own first, then send its guid",
            field=field,
        )
    if not isinstance(guid, str):
        raise _wrong(field, value, "a guid, or an object with one")
    return Ref(guid_of(guid, field))


def _choice(value: object, field: str) -> Choice:
    if isinstance(value, dict) and value.get("guid") in (None, ""):
        return Choice()
    return Choice(_ref(value, field).guid)


def _integer(value: object, field: str) -> int:
    number = _number(value, field)
    if number != int(number):
        raise _wrong(field, value, "a whole number")
    return int(number)


def _number(value: object, field: str) -> float:
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            raise _wrong(field, value, "a number")
        value = float(value) if "." in value else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(field, value, "a number")
    if not math.isfinite(value) or abs(value) > _LIMIT:
        raise Malformed(f"{field}: the number is out of range", field=field)
    return value


def _boolean(value: object, field: str) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise _wrong(field, value, "true or false")
    return value


def _text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise _wrong(field, value, "a text")
    if "\0" in value or len(value) > 65536:
        raise Malformed(f"{field}: the text is too long or holds a NUL", field=field)
    return value


def _word(value: object, field: str) -> Word:
    return Word(_text(value.get("name") if isinstance(value, dict) else value, field))


def _wrong(field: str, value: object, wanted: str) -> Malformed:
    return Malformed(f"{field or 'the body'}: {_show(value)} is not {wanted}", field=field)


def _show(value: object) -> str:
    text = msgspec.json.encode(value).decode(errors="replace")
    return text if len(text) <= 60 else text[:57] + "..."


_SCALARS: dict[Any, Callable[[Any, str], Any]] = {
    Ref: _ref,
    Choice: _choice,
    int: _integer,
    float: _number,
    bool: _boolean,
    str: _text,
    Word: _word,
}
