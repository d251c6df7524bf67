"""Members of the reports that nodes send by PUT /tasks/{guid}/transfer-info.

Each kind declares its report; the OpenAPI document and docs/reference/node-reports.md are generated
from the declarations, and a test compares the declarations with the structs that the kinds read.
"""

from __future__ import annotations

from typing import NamedTuple

from haulback.wire import JsonObject


class ReportMember(NamedTuple):
    """A member of a report.  `form` is a key of FORMS; `needed` is true if without the member the
    task is incomplete.
    """

    name: str
    form: str
    about: str
    needed: bool = False


FORMS: dict[str, JsonObject] = {
    "text": {"type": "string"},
    "guid": {"type": "string", "format": "uuid"},
    "bytes": {"type": "integer", "minimum": 0},
    "count": {"type": "integer", "minimum": 0},
    "time": {"type": "integer", "minimum": 0},
    "flag": {"type": "boolean"},
    "texts": {"type": "array", "items": {"type": "string"}},
    "guids": {"type": "array", "items": {"type": "string", "format": "uuid"}},
    "array": {"type": "array", "items": {"type": "object"}},
    "object": {"type": "object"},
}
SPACE = (
    ReportMember("totalSpace", "bytes", "Size of the file system that holds the destination."),
    ReportMember("freeSpace", "bytes", "Free bytes of this file system."),
)
READ_FROM = ReportMember(
    "readFrom",
    "object",
    "The location that was read: backup (its guid there), destination (guid, name).",
)


def lacking(report: tuple[ReportMember, ...], results: dict[str, object]) -> list[str]:
    """Names of the needed members of a report that `results` lacks."""
    return [member.name for member in report if member.needed and results.get(member.name) is None]
