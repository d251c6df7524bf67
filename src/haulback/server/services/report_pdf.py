"""A report as a PDF document.

Only this module imports the PDF library, when the first document is made.  The document embeds the
glyphs of DejaVu Sans that it uses.  East Asian text refers to fonts that PDF programs provide; a
character without any font is printed as its number, so that names remain distinguishable.
"""

from __future__ import annotations

import io
import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from haulback.server.services.report_document import DocumentTable, ReportDocument

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

MEDIA_TYPE = "application/pdf"
_FONT = Path(__file__).parents[1] / "fonts" / "DejaVuSans.ttf"
_LATIN, _HAN, _HANGUL = "DejaVu", "STSong-Light", "HYSMyeongJo-Medium"
_MARGIN, _WIDTH = 40.0, 515.0  # points of an A4 page: 595 wide
_GREY, _LINE, _GOOD, _BAD = "#566270", "#d5dae0", "#2e7d4f", "#b3261e"
_HAN_LETTER = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]")
_HANGUL_LETTER = re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")


def pdf_page(document: ReportDocument) -> bytes:
    """The report as a PDF document of A4 pages, in bytes."""
    from reportlab.lib.pagesizes import A4
    from reportlab.platypus import SimpleDocTemplate

    output = io.BytesIO()
    made = SimpleDocTemplate(
        output,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN + 10,
        title=document.title,
        author="Haulback",
    )
    _fonts()
    made.build(_content(document), onFirstPage=_footer, onLaterPages=_footer)
    return output.getvalue()


@cache
def _fonts() -> frozenset[int]:
    """Register the fonts; returns the characters that the embedded font has."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfbase.ttfonts import TTFont

    font = TTFont(_LATIN, str(_FONT))
    pdfmetrics.registerFont(font)
    for name in (_HAN, _HANGUL):
        pdfmetrics.registerFont(UnicodeCIDFont(name))
    return frozenset(font.face.charToGlyph)


def _content(document: ReportDocument) -> list[Flowable]:
    from reportlab.platypus import Spacer

    colour = _GOOD if document.is_good else _BAD
    flow = [
        _text(document.title, size=16),
        _text(document.span, colour=_GREY),
        Spacer(0, 8),
        _text(document.verdict, size=11, colour=colour),
        Spacer(0, 8),
        _grid(
            [(_text(name, colour=_GREY), _text(value)) for name, value in document.figures],
            [130, _WIDTH - 130],
        ),
    ]
    for table in document.tables:
        flow += [Spacer(0, 16), _text(table.title, size=12), Spacer(0, 4), _rows(table)]
        flow += [_text(table.note, colour=_GREY)] if table.note else []
    return flow


def _rows(table: DocumentTable) -> Flowable:
    heads = [
        _text(head, colour=_GREY, right=at in table.numbers) for at, head in enumerate(table.heads)
    ]
    rows = [
        [_text(cell, right=at in table.numbers) for at, cell in enumerate(row)]
        for row in table.rows
    ]
    return _grid([heads, *rows], _widths(table), heads=1)


def _widths(table: DocumentTable) -> list[float]:
    """Columns of numbers and of times have fixed widths; the column with the longest text gets the
    rest.
    """
    longest = [
        max(len(row[at]) for row in (table.heads, *table.rows)) for at in range(len(table.heads))
    ]
    widths = [min(210.0, 14 + 5.6 * length) for length in longest]
    wide = max(range(len(widths)), key=lambda at: longest[at])
    widths[wide] = _WIDTH - (sum(widths) - widths[wide])
    return widths


def _grid(rows: list[object], widths: list[float], heads: int = 0) -> Flowable:
    from reportlab.lib.colors import HexColor
    from reportlab.platypus import LongTable, TableStyle

    style = TableStyle(
        [
            ("LINEBELOW", (0, 0), (-1, -1), 0.5, HexColor(_LINE)),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (-1, -1), 0),
            ("TOPPADDING", (0, 0), (-1, -1), 3),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
        ]
    )
    return LongTable(rows, colWidths=widths, repeatRows=heads, style=style, hAlign="LEFT")


def _text(
    text: str, *, size: float = 8.5, colour: str = "#1c2530", right: bool = False
) -> Flowable:
    from reportlab.lib.colors import HexColor
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph

    style = ParagraphStyle(
        "text",
        fontName=_LATIN,
        fontSize=size,
        leading=size * 1.35,
        textColor=HexColor(colour),
        alignment=2 if right else 0,
        splitLongWords=1,
    )
    return Paragraph(_markup(text), style)


def _markup(text: str) -> str:
    """The text in the markup of paragraphs, with a suitable font for each run of characters."""
    known = _fonts()
    runs: list[tuple[str, str]] = []
    for letter in _visual(text):
        font, shown = _LATIN, letter
        if ord(letter) not in known:
            if _HANGUL_LETTER.match(letter):
                font = _HANGUL
            elif _HAN_LETTER.match(letter):
                font = _HAN
            else:
                shown = f"[U+{ord(letter):04X}]"
        if runs and runs[-1][0] == font:
            runs[-1] = (font, runs[-1][1] + shown)
        else:
            runs.append((font, shown))
    return "".join(
        escape(part) if font == _LATIN else f'<font name="{font}">{escape(part)}</font>'
        for font, part in runs
    )


def _visual(text: str) -> str:
    """The characters in the order of drawing: words from right to left are reversed."""
    result: list[str] = []
    run: list[str] = []
    for letter in text:
        kind = unicodedata.bidirectional(letter)
        if kind in ("R", "AL", "NSM") or (run and kind in ("WS", "ON", "CS", "ES", "ET")):
            run.append(letter)
            continue
        result += _reversed(run)
        run = []
        result.append(letter)
    return "".join(result + _reversed(run))


def _reversed(run: list[str]) -> list[str]:
    """A run from right to left, without the neutral characters at its end."""
    end = len(run)
    while end and unicodedata.bidirectional(run[end - 1]) not in ("R", "AL", "NSM"):
        end -= 1
    return run[:end][::-1] + run[end:]


def _footer(canvas: Any, made: Any) -> None:
    """Print the page number at the bottom of each page."""
    canvas.saveState()
    canvas.setFont(_LATIN, 7.5)
    canvas.setFillColor(_GREY)
    canvas.drawRightString(_MARGIN + _WIDTH, _MARGIN - 8, str(made.page))
    canvas.restoreState()
