"""Each noun of the command line exists, shows its help and lists its words."""

from __future__ import annotations

from itertools import chain

import pytest
from cyclopts import CycloptsError

from haulback.cli import main
from haulback.client import record_names
from haulback.client.calls import ReadableCollection
from haulback.client.client import Client
from tests.unit.web import Web


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Output of a command that ends without an error."""
    main.app(words, result_action="return_value", exit_on_error=False)
    return capsys.readouterr().out


NOUNS = [noun for noun, _, _ in main._NOUNS]


@pytest.mark.parametrize("noun", NOUNS)
def test_each_noun_loads_and_shows_its_help(capsys: pytest.CaptureFixture[str], noun: str):
    assert f"haulback {noun}" in shown(capsys, noun, "--help")


def test_the_help_lists_every_noun(capsys: pytest.CaptureFixture[str]):
    text = shown(capsys, "--help")
    assert [noun for noun in NOUNS if noun not in text] == []
    assert len(set(NOUNS)) == len(NOUNS)


def test_a_word_that_is_no_noun_is_refused():
    with pytest.raises(CycloptsError, match="nonsense"):
        main.app(["nonsense"])


def test_each_command_that_an_error_names_is_there(web: Web, capsys: pytest.CaptureFixture[str]):
    client = Client(web.url, "t")
    parts = chain(*(vars(topic).values() for topic in (client, client.records, client.users)))
    nouns = {part.noun for part in parts if isinstance(part, ReadableCollection)}
    assert {"machine", "policy", "rule", "destination", "notification channel"} <= nouns
    for noun in {*nouns, *record_names._LISTS}:
        line = str(record_names.missing(noun, "web")).split("`")[1]
        _, *words = line.split()
        names = [word for word in words if word.islower() and word[0] != "-"]
        assert f"haulback {' '.join(names)}" in shown(capsys, *names, "--help")
