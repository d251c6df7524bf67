"""The OpenAPI 3.1 document, made from the operations, and a page that shows it offline."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable

import haulback
from haulback.contract.losses import Losses
from haulback.contract.project_access import ABOUT
from haulback.contract.roles import PUBLIC, ROLES
from haulback.server.http.operation import Operation
from haulback.server.http.request_body import describe
from haulback.server.http.schemas import Schemas
from haulback.wire import JsonObject

_ERROR = {
    "type": "object",
    "required": ["message", "code", "status"],
    "properties": {
        "message": {"type": "string"},
        "code": {"type": "string"},
        "status": {"type": "integer"},
        "details": {"type": "object"},
    },
}
_ERRORS = {
    "400": "Malformed; `message` names the field and the remedy.",
    "401": "The request has no login, or its token is void.",
    "403": "The caller's roles or projects do not allow the operation.",
    "404": "The caller sees no such object.",
    "405": "The path does not take this method.",
    "409": "The state of the object does not allow the operation.",
    "408": "The head or the body of the request did not arrive in time.",
    "413": "",  # each operation declares its own limits
    "429": "Too many requests; Retry-After gives the wait before the next request.",
    "431": "The head of the request is larger than 32 KiB or has more than 100 fields.",
    "503": "The database, a node or a store does not answer; try again.",
}

_LISTED = "With `dryRun=true`, the losses; with `gone=true`, what was given up."


def document(operations: Iterable[Operation]) -> JsonObject:
    """The OpenAPI document."""
    schemas = Schemas()
    paths: dict[str, JsonObject] = {}
    for item in sorted(operations, key=lambda item: (item.path, item.method)):
        paths.setdefault(item.path, {})[item.method.lower()] = _operation(item, schemas)
    schemas.components["Error"] = _ERROR
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Haulback",
            "version": haulback.__version__,
            "description": "Open backup and recovery: the API of all controllers.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/api"}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "haulback"},
            },
        },
        "security": [{"token": []}, {"session": []}],
    }


def _operation(item: Operation, schemas: Schemas) -> JsonObject:
    made: JsonObject = {
        "operationId": _id(item),
        "summary": item.summary,
        "description": _describe(item),
        "tags": [item.path.split("/")[1]],
        "parameters": _parameters(item),
        "responses": _responses(item, schemas),
        "x-haulback-narrowed": item.access.value,
    }
    if item.request is not None:
        made["requestBody"] = {"required": True, "content": _json(_request(item, schemas), item)}
    if item.roles == PUBLIC:
        made["security"] = []
    return made


def _id(one: Operation) -> str:
    words = re.sub(r"[^a-zA-Z0-9]+", " ", one.path).split()
    return one.method.lower() + "".join(word.capitalize() for word in words)


def _describe(one: Operation) -> str:
    about = " ".join((one.handle.__doc__ or one.summary).split())
    if one.roles == PUBLIC:
        return f"{about} No login is needed."
    who = ", ".join(role for role in ROLES if role in one.roles)
    return f"{about} Roles: {who}. For restricted callers: {ABOUT[one.access]}"


def _parameters(item: Operation) -> list[JsonObject]:
    result: list[JsonObject] = []
    if "{guid}" in item.path:
        schema = {"type": "string", "format": "uuid"}
        result.append({"name": "guid", "in": "path", "required": True, "schema": schema})
    for param in item.params:
        schema = dict(param.sort)
        shown: JsonObject = {"type": "array", "items": schema} if param.many else schema
        made = {"name": param.name, "in": "query", "description": param.about, "schema": shown}
        result.append(made | ({"style": "form", "explode": True} if param.many else {}))
    if (
        item.path.startswith("/tasks/")
        and item.method == "POST"
        and item.status == 201
        and item.answer
    ):
        about = "The same key gives the same tasks."
        key = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"}
        result.append(
            {"name": "Idempotency-Key", "in": "header", "description": about, "schema": key}
        )
    return result


def _request(one: Operation, schemas: Schemas) -> JsonObject:
    schema = schemas.of(one.request, incoming=True)
    return one.request_schema(schemas, schema) if one.request_schema else schema


def _json(schema: JsonObject, one: Operation) -> JsonObject:
    found: JsonObject = {"schema": schema}
    if one.examples:
        found["examples"] = {
            f"example{i}": {"value": value} for i, value in enumerate(one.examples, 1)
        }
    return {"application/json": found}


def _responses(item: Operation, schemas: Schemas) -> JsonObject:
    result: JsonObject = {}
    if item.answer is None:
        result[str(item.status)] = {"description": "Done; no body."}
    elif item.status == 204:
        result["204"] = {"description": "Done; no body."}
        result["200"] = _body(item, schemas, "Done; with `Prefer: return=representation`.")
    else:
        result[str(item.status)] = _body(item, schemas, "Done.")
    if item.destroys:
        _add_dry_run(result, schemas.of(Losses, incoming=False))
    for status, about in _ERRORS.items():
        if status == "413" and not item.takes_body:
            continue
        about = about or describe(item.body)
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
        result[status] = {"description": about, "content": content}
    return result


def _add_dry_run(result: JsonObject, schema: JsonObject) -> None:
    """Add the answer of `dryRun=true`, which has status 200, to the responses."""
    before = result.get("200", {}).get("content", {}).get("application/json")
    either = {"anyOf": [before["schema"], schema]} if before else schema
    about = "Done; or, with `dryRun=true`, the losses." if before else _LISTED
    content = {"application/json": {"schema": either}}
    result["200"] = {**result.get("200", {}), "description": about, "content": content}


def _body(item: Operation, schemas: Schemas, about: str) -> JsonObject:
    schema = schemas.of(item.answer, incoming=False)
    schema = item.answer_schema(schemas, schema) if item.answer_schema else schema
    schema = {"type": "array", "items": schema} if item.many else schema
    made: JsonObject = {
        "description": about,
        "content": {"application/json": {"schema": schema}},
    }
    if item.many and item.method == "GET":
        total = {"schema": {"type": "integer"}, "description": "Number of all rows."}
        made["headers"] = {"X-Total-Count": total}
    return made


def page(operations: Iterable[Operation]) -> str:
    """The document as one page without external resources; tasks come first."""
    found = document(operations)
    by_topic: dict[str, list[str]] = {"tasks": []}
    for path, methods in found["paths"].items():
        for method, one in methods.items():
            by_topic.setdefault(one["tags"][0], []).append(_row(method.upper(), path, one))
    topics = [f"<h2>{topic}</h2>" + "\n".join(rows) for topic, rows in by_topic.items()]
    title = f"Haulback {found['info']['version']}: the API"
    return _PAGE.replace("{title}", html.escape(title)).replace("{rows}", "\n".join(topics))


def _row(method: str, path: str, item: JsonObject) -> str:
    good = {k: v for k, v in item["responses"].items() if k.startswith("2")}
    rows = [_parameter(param) for param in item["parameters"]]
    params = f"<table>{''.join(rows)}</table>" if rows else ""
    media = item.get("requestBody", {}).get("content", {}).get("application/json", {})
    asked = [example["value"] for example in media.get("examples", {}).values()]
    shown = "".join(f"<pre>{_text(value)}</pre>" for value in asked)
    schemas = _text({"request": media.get("schema"), "responses": good})
    return (
        f'<details id="{item["operationId"]}"><summary><b class="{method}">{method}</b> '
        f"<code>{html.escape(path)}</code> {html.escape(item['summary'])}</summary>"
        f"<p>{html.escape(item['description'])}</p>{params}{shown}"
        f"<details><summary>Schemas</summary><pre>{schemas}</pre></details></details>"
    )


def _parameter(param: JsonObject) -> str:
    schema = param["schema"]
    values = schema.get("enum") or schema.get("items", {}).get("enum") or []
    sort = schema.get("format") or schema.get("type") or "one of"
    about = f"{param.get('description', '')} {', '.join(values)}"
    cells = (param["name"], f"{param['in']}, {sort}", about)
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def _text(value: object) -> str:
    return html.escape(json.dumps(value, indent=1))


_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><style>
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color:#1b1f24;background:#fff}
summary{cursor:pointer;padding:.35rem 0;border-bottom:1px solid #e3e6ea}
b{display:inline-block;width:4.5rem;font-size:.8rem;letter-spacing:.04em}
.GET{color:#0a6}.POST{color:#06c}.PUT{color:#a60}.DELETE{color:#c22}
table{border-collapse:collapse}td{padding:.15rem .8rem .15rem 0;vertical-align:top}
h2{margin:2rem 0 .5rem;text-transform:capitalize}details details{margin:.5rem 0}
pre{background:#f5f7f9;padding:1rem;overflow:auto;font-size:.8rem}
input{width:100%;padding:.6rem;font:inherit;margin:1rem 0;box-sizing:border-box}
@media(prefers-color-scheme:dark){body{color:#dde;background:#14171b}pre{background:#1d2126}
summary{border-color:#2c323a}}
</style></head><body><h1>{title}</h1>
<p>The machine's form is <a href="openapi.json">openapi.json</a>. Log in with
<code>POST /session/login</code>, or send an API token as <code>Authorization: Bearer</code>.</p>
<input id="find" placeholder="Find an operation" aria-label="Find an operation">
{rows}
<script>
const wanted=document.getElementById(location.hash.slice(1));
if(wanted)wanted.open=true;
const find=document.getElementById("find");
find.oninput=()=>document.querySelectorAll("body>details").forEach(d=>{
d.hidden=!d.querySelector("summary").textContent.toLowerCase().includes(find.value.toLowerCase())});
</script></body></html>"""
