"""The node of `haulback up` is kept running, and enrolled under a free name."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from haulback.cli import programs
from haulback.cli.server_options import ServerOptions
from haulback.destinations.folder import Folder
from haulback.errors import Conflict
from haulback.logs import LogFormat
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository


def test_a_node_that_ends_is_started_again_until_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    starts = tmp_path / "starts"
    text = f"import sys; open({str(starts)!r}, 'a').write('x'); sys.exit(3)"
    keeper = programs._Keeper([sys.executable, "-S", "-c", text])
    pauses, wait = list[float](), keeper._stop_now.wait
    monkeypatch.setattr(
        keeper._stop_now, "wait", lambda seconds: pauses.append(seconds) or wait(0.01)
    )
    keeper.start()
    end = time.monotonic() + 30
    while len(pauses) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    keeper.stop()
    keeper.join(30)
    assert not keeper.is_alive()
    assert len(starts.read_text()) >= 2
    assert "the node ended with 3; starting it again" in caplog.text


def test_a_keeper_that_never_started_its_node_stops():
    keeper = programs._Keeper(["true"])
    keeper.stop()
    keeper.stop()


@pytest.mark.parametrize(("tls", "insecure"), [(False, True), (True, False)])
def test_the_node_is_told_how_to_reach_the_server(tmp_path: Path, tls: bool, insecure: bool):
    certificate = tmp_path / "cert" if tls else None
    how = ServerOptions(tls_cert=certificate, tls_key=certificate, insecure_http=insecure)
    command = programs._node_command("https://h:1", tmp_path, how.settings(), LogFormat.JSON)
    assert ("--trust" in command) is tls
    assert ("--insecure-http" in command) is insecure
    assert command[command.index("--log-format") + 1] == "json"


def test_the_embedded_node_takes_the_first_free_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    taken, admitted = {"local", "local-2"}, list[tuple[str, str]]()

    def admit(app: object, who: Any, name: str) -> None:
        if name in taken:
            raise Conflict(f"{name} is taken")
        admitted.append((who.guid, name))

    monkeypatch.setattr(programs.nodes, "admit", admit)
    server: Any = SimpleNamespace(app=None)
    for _ in range(2):
        programs._enrol_embedded(server, tmp_path)
    [(guid, name), again] = admitted
    assert (guid, name) == again
    assert name == "local-3"
    taken |= {f"local-{number}" for number in range(2, 100)}
    with pytest.raises(Conflict, match="remove nodes that no longer exist"):
        programs._enrol_embedded(server, tmp_path)


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_folder_of_a_given_up_destination_is_not_called_another_servers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_kept: bool,
):
    Repository.init(Folder(tmp_path), Secret("keyfile", b"k" * 32))
    rooms = SimpleNamespace(
        all_destinations=lambda app: [],
        add_destination=lambda app, wanted: (SimpleNamespace(guid="g"), None),
        has_kept_key=lambda app, guid: is_kept,
    )
    monkeypatch.setattr(programs, "destinations", rooms)
    server: Any = SimpleNamespace(app=None)
    programs._first_destination(server, tmp_path)
    assert ("another server made this repository" in caplog.text) is not is_kept
    assert ("haulback destination sync local" in caplog.text) is is_kept
