"""JSON schemas of request and answer types, as the tolerant codec reads and writes them."""

from __future__ import annotations

import types
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from haulback.wire import Choice, JsonObject, Label, Named, Ref, Word

Schema = JsonObject
_NUMERIC = {"type": "string", "pattern": r"^-?[0-9]{1,16}(\.[0-9]{1,16})?$"}
_WHOLE = {"type": "integer", "minimum": -(2**53), "maximum": 2**53}
_GUID = {"type": "string", "format": "uuid"}
_SCALARS_IN: dict[object, Schema] = {
    str: {"type": "string", "maxLength": 65536},
    int: {"anyOf": [_WHOLE, {"type": "string", "pattern": "^-?[0-9]{1,16}$"}]},
    float: {"anyOf": [{"type": "number", "minimum": -(2**53), "maximum": 2**53}, _NUMERIC]},
    bool: {"anyOf": [{"type": "boolean"}, {"enum": ["true", "false"]}]},
}
_SCALARS_OUT: dict[object, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
}


class Schemas:
    """The components of a document; `of` gives a schema that refers to components."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def of(self, kind: object, *, incoming: bool) -> Schema:
        """The schema of a type, as requests (`incoming`) or answers use it."""
        if get_origin(kind) in (Union, types.UnionType):
            inner = [arm for arm in get_args(kind) if arm is not type(None)]
            if len(inner) > 1:
                return {"anyOf": [self.of(arm, incoming=incoming) for arm in inner]}
            result = self.of(inner[0], incoming=incoming)
            return {"anyOf": [result, {"type": "null"}]} if incoming else result
        if get_origin(kind) is list:
            items = self.of(get_args(kind)[0], incoming=incoming)
            items = {"anyOf": [items, {"type": "null"}]} if incoming else items
            return {"type": "array", "items": items}
        if get_origin(kind) is dict or kind is dict:
            values = get_args(kind)[1] if get_args(kind) else Any
            return {"type": "object", "additionalProperties": self.of(values, incoming=incoming)}
        if kind is Word:
            bare = {"type": "string"}
            named = {"type": "object", "required": ["name"], "properties": {"name": bare}}
            return {"anyOf": [bare, named]}
        scalars = _SCALARS_IN if incoming else _SCALARS_OUT
        if kind in scalars:
            return scalars[kind]
        if isinstance(kind, type) and issubclass(kind, Enum):
            return self._enum(kind, incoming)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self._struct(kind, incoming)
        return {}

    def _enum(self, kind: type[Enum], incoming: bool) -> Schema:
        bare = {"type": "string", "enum": sorted(kind.__members__)}
        if not incoming:
            return bare
        named = {"type": "object", "required": ["name"], "properties": {"name": bare}}
        return {"anyOf": [bare, named]}

    def _struct(self, kind: type[msgspec.Struct], incoming: bool) -> Schema:
        if kind is Ref:
            named = {"type": "object", "required": ["guid"], "properties": {"guid": _GUID}}
            return {"anyOf": [_GUID, named]}
        if kind is Choice:
            return {"anyOf": [_GUID, {"type": "object", "properties": {"guid": _GUID}}]}
        name = _name(kind, incoming)
        if name not in self.components:
            self.components[name] = {}  # a struct may contain its own type
            self.components[name] = self._object(kind, incoming)
        whole = {"$ref": f"#/components/schemas/{name}"}
        if incoming and kind.__struct_fields__ == ("guid",):
            return {"anyOf": [{"type": "string"}, whole]}
        return whole

    def _object(self, kind: type[msgspec.Struct], incoming: bool) -> Schema:
        hints = get_type_hints(kind)
        members: Schema = {}
        required = []
        for field in msgspec.structs.fields(kind):
            result = self.of(hints[field.name], incoming=incoming)
            optional = not field.required
            if incoming and optional and "anyOf" not in result:
                result = {"anyOf": [result, {"type": "null"}]}
            members[field.encode_name] = result
            if field.required:
                required.append(field.encode_name)
        made: Schema = {"type": "object", "properties": members}
        if required:
            made["required"] = required
        if kind.__doc__ and not kind.__doc__.startswith(kind.__name__ + "("):
            made["description"] = " ".join(kind.__doc__.split())
        return made


def _name(kind: type[msgspec.Struct], incoming: bool) -> str:
    if kind in (Named, Label):
        return {Named: "NameAndGuid", Label: "EnumNameAndDescription"}[kind]
    return f"{kind.__name__}In" if incoming and kind.__name__ in _BOTH_WAYS else kind.__name__


# Client generators also name the type of a Machine's `settings` MachineSettings.
_BOTH_WAYS = frozenset({"Retention", "Role", "Space", "Execution", "MachineSettings"})
