"""Scans name the machines that cannot be read, and each task has a progress bar with its own
name.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from haulback.cli import hypervisors
from haulback.cli.watch import _label
from haulback.errors import Incomplete


def scanned(**info: Any) -> Any:
    task = SimpleNamespace(transferInfo=info)
    return SimpleNamespace(tasks=SimpleNamespace(get=lambda guid, extended: task))


def test_a_machine_that_a_scan_cannot_read_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(hypervisors, "watch", lambda client, tasks: None)
    bad = {"where": "bad", "message": "machine.json: Input data was truncated", "uuid": ""}
    hypervisors._scan(scanned(machines=[{}, {}]), ["t"])
    assert capsys.readouterr().out == "machines found: 2\n"
    with pytest.raises(Incomplete, match="1 machine cannot be read"):
        hypervisors._scan(scanned(machines=[], unreadable=[bad], problems=1), ["t"])
    said = capsys.readouterr().err
    assert said == "cannot be read: bad: machine.json: Input data was truncated\n"


def test_two_bars_of_one_type_and_object_have_two_names():
    def task(**objects: str) -> Any:
        refs = {name: SimpleNamespace(name=value) for name, value in objects.items()}
        absent = dict.fromkeys(("protectedEntity", "backupDestination", "hypervisor"))
        return SimpleNamespace(type=SimpleNamespace(name="EXPORT"), **{**absent, **refs})

    assert _label(task(protectedEntity="web", hypervisor="hv"), ()) == "EXPORT web"
    assert _label(task(protectedEntity="web"), ("EXPORT web",)) == "EXPORT web (2)"
    assert _label(task(hypervisor="hv"), ("EXPORT web",)) == "EXPORT hv"
    assert _label(task(), ()) == "EXPORT"
