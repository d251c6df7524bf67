"""A store that another key opens is attached in two commands more, which the error names."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from haulback.cli import destination_catalogue
from haulback.cli.destination_catalogue import attach
from haulback.errors import WrongKey


@pytest.mark.parametrize(
    ("is_opened", "end"),
    [(False, "remove old (haulback destination rm old)"), (True, "opens nothing")],
)
def test_a_store_that_the_key_does_not_open_is_removed_before_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_opened: bool, end: str
):
    def fails(client: Any, made: Any) -> None:
        raise WrongKey("this keyfile opens nothing")

    key = tmp_path / "key"
    key.write_text("ab" * 32)
    made = SimpleNamespace(guid="g", name="old", initialized=is_opened)
    places = SimpleNamespace(attach=lambda wanted: made, get=lambda guid: made)
    client = SimpleNamespace(destinations=places)
    monkeypatch.setattr(destination_catalogue, "connect", lambda: client)
    monkeypatch.setattr(destination_catalogue, "_follow", fails)
    with pytest.raises(WrongKey) as caught:
        attach("old", tmp_path, key_file=key)
    assert end in caught.value.message
    assert ("rm old" in caught.value.message) is not is_opened
