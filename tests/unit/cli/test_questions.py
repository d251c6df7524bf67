"""The question of a destructive command: a list from the server, an answer from a user."""

from __future__ import annotations

import io
import sys

import pytest

from haulback.cli.confirmation import Consent
from haulback.cli.questions import agreed, merged
from haulback.client.client import Client
from haulback.contract.losses import LossCount, Losses, LostItem
from haulback.errors import Malformed, Unsupported
from tests.unit.web import Web

LOST = {
    "total": 3,
    "size": 2048,
    "items": [{"kind": "backup", "fate": "deleted", "guid": "b", "name": "web", "size": 2048}],
    "counts": [{"kind": "backup", "fate": "deleted", "count": 3, "size": 2048}],
    "notes": ["2 stay"],
}


def terminal(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    made = io.StringIO(f"{said}\n")
    monkeypatch.setattr(made, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", made)


def remove(client: Client) -> None:
    client.nodes.remove("11111111-2222-4333-8444-555555555555")


def test_a_person_sees_what_goes_and_decides(
    web: Web, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    client = Client(web.url)
    web.says({"dryRuns": True})
    for answer in ("y", "n"):
        web.says(LOST)
        terminal(monkeypatch, answer)
        if answer == "y":
            assert agreed(client, Consent(), lambda: remove(client))
        else:
            with pytest.raises(Malformed, match="nothing was done"):
                agreed(client, Consent(), lambda: remove(client))
        said = capsys.readouterr().out
        assert "3 backups deleted (2 KiB)" in said
        assert "... and 2 more" in said
        assert "2 stay" in said
    assert web.last.query == [("dryRun", "true")]
    client.close()


def test_a_request_that_removes_nothing_asks_nothing(web: Web):
    client = Client(web.url)
    web.says({"dryRuns": True})
    web.says({"total": 0})
    assert agreed(client, Consent(), lambda: remove(client))
    client.close()


def test_an_older_server_is_not_asked_for_a_dry_run_that_it_would_carry_out(web: Web):
    client = Client(web.url)
    web.says({"leaseMs": 1})
    with pytest.raises(Unsupported, match="add -y"):
        agreed(client, Consent(), lambda: remove(client))
    assert [asked.path for asked in web.asked] == ["/global-settings"]
    assert agreed(client, Consent(yes=True), lambda: remove(client))
    client.close()


def test_the_lists_of_several_requests_are_one_list():
    part = Losses(
        items=[LostItem(kind="task", fate="cancelled")],
        total=1,
        counts=[LossCount(kind="task", fate="cancelled", count=1)],
        notes=["n"],
    )
    whole = merged([part, part])
    assert (whole.total, len(whole.items), whole.notes) == (2, 2, ["n"])
    assert [count.count for count in whole.counts] == [2]
