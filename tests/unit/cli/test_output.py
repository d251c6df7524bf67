"""Output is a table for people and JSON for programs, with the same rows in both."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haulback.cli.output import dump, moment, named, show, size, text
from haulback.wire import Named

COLUMNS = (text("guid"), named("node"), size("size"), moment("created"))


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_table_has_headings_and_a_row_for_each_record(utc, capsys: pytest.CaptureFixture[str]):
    row = {"guid": "g1", "node": {"guid": "n", "name": "n1"}, "size": 1536, "created": 1_000}
    show([row], COLUMNS, "table")
    head, line = (part.rstrip() for part in capsys.readouterr().out.splitlines())
    assert head.split() == ["guid", "node", "size", "created"]
    assert line.split() == ["g1", "n1", "1.5", "KiB", "1970-01-01", "00:00:01"]


@pytest.mark.parametrize("columns", ["20", "80", None])
def test_no_line_of_a_table_ends_with_blanks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str | None
):
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    rows = [
        {"guid": "g1", "name": "web", "statusInfo": "the destination does not answer " * 9},
        {"guid": "g2", "name": "", "statusInfo": None},
        {"guid": "a longer guid", "name": "a name that ends with blanks  "},
    ]
    show(rows, (text("guid"), text("name"), text("statusInfo")), "table")
    printed = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    lines = printed.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert lines[0].split() == ["guid", "name", "statusInfo"]
    assert "g2" in lines


def test_json_has_the_records_as_the_server_sent_them(capsys: pytest.CaptureFixture[str]):
    show([Named("g", "a")], COLUMNS, "json")
    assert json.loads(capsys.readouterr().out) == [{"guid": "g", "name": "a"}]
    show([], COLUMNS, "json")
    assert json.loads(capsys.readouterr().out) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.recursive(st.none() | st.integers(-9, 9) | st.text(), st.lists, max_leaves=5))
def test_any_value_is_dumped_as_readable_json(capsys: pytest.CaptureFixture[str], value: Any):
    dump(value)
    assert json.loads(capsys.readouterr().out) == value


def cell(column: Any, row: dict[str, Any]) -> str:
    return column[1](row)


def test_an_absent_member_is_an_empty_cell():
    assert [cell(column, {}) for column in COLUMNS] == ["", "", "", ""]
    assert cell(moment("created"), {"created": None}) == ""
    for far in (1 << 53, -(1 << 53)):  # a file of a guest may have any time
        assert cell(moment("created"), {"created": far}) == f"{far} ms"
    assert cell(named("node"), {"node": None}) == ""


def test_a_list_is_shown_in_one_cell_and_a_record_without_a_name_by_its_guid():
    assert cell(text("roles"), {"roles": ["a", "b", 3]}) == "a, b, 3"
    assert cell(text("n"), {"n": 0}) == "0"
    assert cell(named("node"), {"node": {"guid": "n"}}) == "n"
    assert cell(named("node"), {"node": {"guid": "n", "name": "n1"}}) == "n1"
    assert cell(size("s"), {"s": 0}) == "0 B"


def test_brackets_in_a_name_are_no_markup(capsys: pytest.CaptureFixture[str]):
    show([{"guid": "[red]web[/red]"}], (text("guid"),), "table")
    assert "[red]web[/red]" in capsys.readouterr().out


def test_a_table_that_goes_to_a_file_is_wide_enough_for_guids(capsys: pytest.CaptureFixture[str]):
    guids = dict.fromkeys(("a", "b", "c", "d"), "3f2b8c1e-0d4a-4f6e-9b7a-5c1d2e3f4a5b")
    show([guids], tuple(text(name) for name in guids), "table")
    assert capsys.readouterr().out.count(guids["a"]) == 4


GUID = "3f2b8c1e-0d4a-4f6e-9b7a-5c1d2e3f4a5b"
WIDE = {
    "guid": GUID,
    "name": "a-machine-with-a-long-name-that-somebody-types",
    "node": {"guid": "n", "name": "node-of-the-second-building"},
    "statusInfo": "the destination does not answer " * 4,
    "startTime": 1_000,
}


@pytest.mark.parametrize("columns", ["20", "80", "120", None])
def test_no_cell_that_is_typed_again_is_cut_at_any_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str | None
):
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    names = (text("guid"), text("name"), named("node"), text("statusInfo"), moment("startTime"))
    show([WIDE], names, "table")
    shown = capsys.readouterr().out
    assert all(word in shown for word in (GUID, WIDE["name"], "node-of-the-second-building"))
    assert "…" not in shown
    assert (len(shown.splitlines()) == 2) == (columns is None)
