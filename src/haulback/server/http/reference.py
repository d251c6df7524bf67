"""Pages of docs/reference, made from the declarations of operations and kinds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from haulback.contract.project_access import ABOUT
from haulback.contract.roles import NODES, PUBLIC, ROLES, Roles
from haulback.kinds.registry import WAYS
from haulback.server.http import node_schemas
from haulback.server.http.operation import Operation
from haulback.server.http.operations import operations

OPERATIONS = operations(WAYS)
TABLE: dict[str, Roles] = {operation.key: operation.roles for operation in OPERATIONS}


def pages(folder: Path) -> dict[str, str]:
    """Names and texts of all pages; `folder` has the page of commands, whose prose stays."""
    return {
        "access.md": access(),
        "cli.md": commands((folder / "cli.md").read_text()),
        "node-reports.md": node_schemas.as_markdown(),
        "operations.md": catalogue(),
    }


def access() -> str:
    """The page of roles and projects: a row for each operation."""
    roles = list(ROLES)
    lines = [
        "# Access by role and project",
        "",
        "Made by `scripts/reference` from the declarations of operations (`server/http/`) and "
        "of submissions of kinds (`kinds/`), which the server enforces.  "
        "A dot: the role may call the operation; *all*: no login is needed.  A user may have "
        "several roles.",
        "",
        *(f"- **{role}**: {about}." for role, about in ROLES.items()),
        "",
        "A caller is **restricted** by the projects of the account, by those of the API token, by "
        "the header `3rd-party-project` or by the query `project-uuid`; all four limit a caller in "
        "the same way, and together they allow the projects that all of them allow.  The last "
        "column shows the access of a restricted caller, in addition to the roles.",
        "",
        *(f"- **{limit.value}**: {about}" for limit, about in ABOUT.items()),
        "",
        "| operation | " + " | ".join(roles) + " | restricted |",
        "|---|" + ":-:|" * len(roles) + "---|",
    ]
    for item in OPERATIONS:
        cells = ["*all*" if item.roles == PUBLIC else "•" if r in item.roles else "" for r in roles]
        lines.append(f"| `{item.key}` | " + " | ".join(cells) + f" | {item.access.value} |")
    return "\n".join(lines) + "\n"


def commands(page: str) -> str:
    """The page of commands with new tables between its marks; the prose between the tables stays.

    Raises ValueError when a mark is missing.
    """
    tables: dict[str, list[Operation]] = {"tasks": [], "node": [], "rest": []}
    for operation in OPERATIONS:
        if operation.command:
            tables[_table(operation)].append(operation)
    for name, rows in tables.items():
        begin, end = f"<!-- {name}: made by scripts/reference -->", f"<!-- end of {name} -->"
        parts = re.split(f"{re.escape(begin)}\n.*?{re.escape(end)}\n", page, flags=re.DOTALL)
        if len(parts) != 2:
            raise ValueError(f"cli.md needs the lines {begin} and {end}, once each")
        page = f"{begin}\n{_commands(rows)}{end}\n".join(parts)
    return page


def _table(operation: Operation) -> str:
    if not operation.path.startswith("/tasks"):
        return "rest"
    return "node" if operation.roles == NODES else "tasks"


def _commands(rows: Iterable[Operation]) -> str:
    lines = [f"| `{row.key}` | `{row.command}` |" for row in rows]
    return "\n".join(["| operation | command |", "|---|---|", *lines]) + "\n"


def catalogue() -> str:
    """The page of operations: one section for each first part of a path."""
    sections: dict[str, list[str]] = {}
    for item in OPERATIONS:
        command = f"`{item.command}`" if item.command else ""
        row = f"| `{item.key}` | {item.summary} | {command} |"
        sections.setdefault(item.path.split("/")[1], []).append(row)
    lines = [
        "# Operations of the API",
        "",
        "Made by `scripts/reference` from the declarations of operations.  Paths lie "
        "below `/api`; `/api/docs` of a server shows schemas and examples, "
        "`/api/openapi.json` is the document for machines, and [the access "
        "page](access.md) lists roles.",
    ]
    for name, rows in sections.items():
        lines += ["", f"## {name}", "", "| operation | summary | command |", "|---|---|---|", *rows]
    return "\n".join(lines) + "\n"
