"""Orders and reports of each kind of task, as schemas and as a page."""

from __future__ import annotations

import msgspec

from haulback.kinds.registry import KINDS
from haulback.kinds.support.reports import FORMS, ReportMember
from haulback.server.http.schemas import Schema, Schemas

_WORDS = {
    "bytes": "bytes",
    "count": "number",
    "time": "epoch ms",
    "flag": "true or false",
    "texts": "array of texts",
    "guids": "array of guids",
    "array": "array of objects",
}


def reports(schemas: Schemas, known: Schema) -> Schema:
    """The body of transfer-info: the known members of any kind, or the report of one kind."""
    found: list[Schema] = [known]
    for kind in sorted(KINDS):
        name = f"{_name(kind)}Report"
        schemas.components[name] = _report(kind)
        found.append({"$ref": f"#/components/schemas/{name}"})
    return {"anyOf": found}


def _report(kind: str) -> Schema:
    members = {
        one.name: {**FORMS[one.form], "description": one.about} for one in KINDS[kind].report
    }
    needed = [one.name for one in KINDS[kind].report if one.needed]
    about = f"The transfer-info of a task of type {kind}; other members are stored too."
    made: Schema = {"type": "object", "description": about, "properties": members}
    return made | ({"required": needed} if needed else {})


def orders(schemas: Schemas, known: Schema) -> Schema:
    """An order: the number of the attempt, and the order of the task's kind."""
    found = [_order(schemas, kind) for kind in sorted(KINDS)]
    return {
        "type": "object",
        "required": ["attempt", "order"],
        "properties": {"attempt": {"type": "integer"}, "order": {"anyOf": found}},
    }


def _order(schemas: Schemas, kind: str) -> Schema:
    name = f"{_name(kind)}Order"
    struct = KINDS[kind].order
    about = f"The order of a task of type {kind}. {_about(struct)}"
    members = {
        field.encode_name: _shape(schemas, field) for field in msgspec.structs.fields(struct)
    }
    schemas.components[name] = {"type": "object", "description": about, "properties": members}
    return {"$ref": f"#/components/schemas/{name}"}


def _shape(schemas: Schemas, field: msgspec.structs.FieldInfo) -> Schema:
    """The JSON type of a member whose contents the platform or the destination defines."""
    found = schemas.of(field.type, incoming=False)
    return {"type": "object"} if "$ref" in found else found


def _name(kind: str) -> str:
    return kind.title().replace("_", "")


def _about(struct: type) -> str:
    return " ".join((struct.__doc__ or "").split())


def as_markdown() -> str:
    """The page docs/reference/node-reports.md with the tables."""
    lines = [
        "# Orders and reports of each kind of task",
        "",
        "Made from the declarations of the kinds (`report` in `kinds/`).  A node takes a "
        "task by `PUT /tasks/{guid}/state`, reads its order by `GET "
        "/nodes/self/orders/{guid}`, sends its report by `PUT "
        "/tasks/{guid}/transfer-info`, and ends the task by `PUT /tasks/{guid}/state`.  "
        "[Write a node](../howto/write-a-node.md) shows a node.  A hypervisor and a "
        "destination in an order hold guid, name, driver and config; `config.path` is "
        "the folder.  A task whose report lacks a needed member does not end well: a "
        "backup stays PARTIAL_SUCCESS, and the report of another kind is refused.",
    ]
    for kind in sorted(KINDS):
        order = KINDS[kind].order
        names = ", ".join(f"`{field.encode_name}`" for field in msgspec.structs.fields(order))
        lines += ["", f"## {kind}", "", f"Order: {names}.  {_about(order)}", ""]
        lines += ["| member | form | needed | meaning |", "|---|---|:-:|---|"]
        lines += [_row(item) for item in KINDS[kind].report]
    return "\n".join(lines) + "\n"


def _row(one: ReportMember) -> str:
    form = _WORDS.get(one.form, one.form)
    return f"| `{one.name}` | {form} | {'•' if one.needed else ''} | {one.about} |"
