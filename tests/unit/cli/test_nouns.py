"""Each noun of the command line exists, shows its help and lists its words."""

from __future__ import annotations

import ast
from itertools import chain
from pathlib import Path

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


# Objects that no list of the API shows, so that only their whole guids are known.
_UNLISTED = {("cloud_import", "provider"), ("agent_import", "agent_guid"), ("eject", "to")}


def test_no_command_sends_a_word_as_a_guid_that_it_has_not_looked_up():
    sent = set()
    for path in sorted(Path(main.__file__).parent.glob("*.py")):
        for made in ast.walk(ast.parse(path.read_text())):
            if isinstance(made, ast.FunctionDef) and made.decorator_list:
                sent |= {(made.name, word) for word in unresolved(made)}
    assert sent == _UNLISTED


def unresolved(command: ast.FunctionDef) -> set[str]:
    """The parameters of a command that become references as they are."""
    given = {item.arg for item in (*command.args.args, *command.args.kwonlyargs)}
    nodes = list(ast.walk(command))
    given -= {item.id for item in nodes if isinstance(item, ast.Name) and not is_read(item)}
    calls = [item for item in nodes if isinstance(item, ast.Call)]
    made = [call for call in calls if getattr(call.func, "id", "") in ("Ref", "ref", "refs")]
    words = {item.id for call in made for item in call.args if isinstance(item, ast.Name)}
    return words & given


def is_read(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Load)
