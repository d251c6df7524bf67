"""A report as plain text and as an HTML page.

Only this module imports the template library, when the first page is made.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import TYPE_CHECKING

from haulback.server.services.report_document import DocumentTable, ReportDocument

if TYPE_CHECKING:
    from jinja2 import Template

_WIDEST = 60  # maximum length of a column of text, in characters
_RIGHT_TO_LEFT = frozenset({"R", "AL"})
# U+2068, first strong isolate, so that a name does not reverse the line.
_ISOLATE, _END = "\u2068", "\u2069"


def text_page(document: ReportDocument) -> str:
    """The report as lines of text."""
    width = max(len(name) for name, _ in document.figures)
    lines = [document.title, "=" * len(document.title), document.span, "", document.verdict, ""]
    lines += [f"{name:{width}}  {value}" for name, value in document.figures]
    for table in document.tables:
        lines += ["", table.title, "-" * len(table.title), *_lines(table)]
        lines += [table.note] if table.note else []
    return "\n".join(lines) + "\n"


def html_page(document: ReportDocument) -> str:
    """The report as an HTML page with embedded styles, for browsers and mail programs."""
    return _template().render(report=document)


def _lines(table: DocumentTable) -> list[str]:
    """The rows of a table in columns; longer texts are cut, except in the last column."""
    last = len(table.heads) - 1
    cells = [
        [text if at == last else _cut(text) for at, text in enumerate(row)]
        for row in (table.heads, *table.rows)
    ]
    widths = [max(_width(row[at]) for row in cells) for at in range(len(table.heads))]
    return [
        "  ".join(
            _padded(text, widths[at], right=at in table.numbers, last=at == last)
            for at, text in enumerate(row)
        ).rstrip()
        for row in cells
    ]


def _padded(text: str, width: int, *, right: bool, last: bool) -> str:
    spaces = " " * (width - _width(text))
    if any(unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT for letter in text):
        text = f"{_ISOLATE}{text}{_END}"
    if right:
        return spaces + text
    return text if last else text + spaces


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def _width(text: str) -> int:
    """Columns that a text occupies in a terminal."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    combined = sum(unicodedata.combining(letter) != 0 for letter in text)
    return len(text) + wide - combined


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("haulback.server", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")
