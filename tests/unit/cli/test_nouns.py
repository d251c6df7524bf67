"""Each noun of the command line exists, shows its help and lists its words."""

from __future__ import annotations

import pytest

from haulback.cli import main


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


def test_a_word_that_is_no_noun_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main.app(["nonsense"])
    assert ended.value.code not in (None, 0)
    assert "nonsense" in capsys.readouterr().err
