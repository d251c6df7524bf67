"""Log lines: members beside the message, as text or as one JSON object per line."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest

from haulback import logs
from haulback.logs import LogFormat, members
from tests.conftest import log_restored

Written = Callable[[], str]


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Written:
    """Read the log lines of a test."""
    return lambda: capsys.readouterr().err


def test_a_program_that_ended_leaves_no_log_to_the_tests_after_it():
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    with log_restored():
        logs.start("debug", LogFormat.TEXT)
        assert (root.handlers, root.level) != before
    assert (root.handlers, root.level) == before


def test_a_text_line_has_key_value_members_and_quotes_what_has_spaces(written: Written):
    logs.start("info", LogFormat.TEXT)
    logging.getLogger("x").info("task taken", extra=members(task="a-1", why="a b", node=None))
    line = written()
    assert line.endswith(' INFO x task taken task=a-1 why="a b"\n')
    assert line.partition(" ")[0].endswith("Z")


@pytest.mark.parametrize("form", list(LogFormat))
def test_a_line_break_in_a_message_makes_no_second_line(written: Written, form: LogFormat):
    logs.start("info", form)
    logging.getLogger("x").info("a\nb %s", "c\nd", extra=members(why="e\nf"))
    assert written().count("\n") == 1


def test_a_json_line_is_an_object_with_members_and_the_error(written: Written):
    logs.start("INFO", LogFormat.JSON)
    try:
        raise ValueError("torn")
    except ValueError:
        logging.getLogger("x").warning("task failed", extra=members(attempt=2), exc_info=True)
    found = json.loads(written())
    assert (found["level"], found["message"], found["attempt"]) == ("WARNING", "task failed", 2)
    assert "ValueError: torn" in found["error"]


def test_lines_below_the_level_are_not_written(written: Written):
    logs.start("warning", LogFormat.TEXT)
    logging.getLogger("x").info("quiet")
    assert written() == ""


def test_a_dry_run_writes_warnings_only(written: Written):
    logs.start("info", LogFormat.TEXT)
    with logs.rehearsed():
        logging.getLogger("x").info("tasks submitted")
        logging.getLogger("x").warning("the disk is full")
    logging.getLogger("x").info("task taken")
    lines = written().splitlines()
    assert [line.partition(" x ")[2] for line in lines] == ["the disk is full", "task taken"]


def test_a_level_that_does_not_exist_is_refused(written: Written):
    with pytest.raises(ValueError, match="LOUD"):
        logs.start("loud", LogFormat.TEXT)
