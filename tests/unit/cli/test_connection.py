"""A login is saved for its user alone, and commands use it until the server refuses it."""

from __future__ import annotations

import io
import json
import stat
import sys
from pathlib import Path

import pytest

from haulback.cli import main
from haulback.cli.confirmation import Consent
from haulback.cli.connection import ask_password, connect, login, logout
from haulback.errors import Malformed, Unauthenticated
from tests.unit.web import Web

ANN = {"guid": "u", "name": "ann", "login": "ann", "roles": [], "privileges": []}
ANN |= {"uiTimeZone": "UTC", "appUserSettings": {"unmountPeriodForMountedBackups": 1}}


@pytest.fixture
def tokens(web: Web, tmp_path: Path) -> Path:
    return tmp_path / "home" / "haulback" / "tokens.json"


def log_in(web: Web, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("pass\nword")
    web.says({}, x_session_token="t1")
    login(server=web.url, user="ann", password_file=secret)
    web.answers.clear()


def test_a_login_is_saved_where_only_its_user_reads_it(web: Web, tokens: Path, tmp_path: Path):
    log_in(web, tmp_path)
    assert json.loads(web.last.body) == {"login": "ann", "password": "pass"}
    assert json.loads(tokens.read_bytes()) == {web.url: "t1"}
    assert stat.S_IMODE(tokens.stat().st_mode) == 0o600


def test_a_saved_login_is_checked_before_its_use(web: Web, tmp_path: Path, tokens: Path):
    log_in(web, tmp_path)
    web.says(ANN)
    with connect() as client:
        assert (web.last.path, client.api.token) == ("/user-info", "t1")
    web.answers.clear()
    web.says({"code": "forbidden", "message": "a node"}, 403)
    with connect() as client:
        assert client.api.token == "t1"


def test_a_login_that_has_ended_asks_for_a_new_one(web: Web, tmp_path: Path, tokens: Path):
    log_in(web, tmp_path)
    web.says({"code": "unauthenticated", "message": "over"}, 401)
    with pytest.raises(Unauthenticated, match=f"haulback login --server {web.url}"):
        connect()


def test_a_password_in_the_environment_logs_in_again(
    web: Web, tmp_path: Path, tokens: Path, monkeypatch: pytest.MonkeyPatch
):
    log_in(web, tmp_path)
    monkeypatch.setenv("HAULBACK_ADMIN_PASSWORD", "pw")
    web.says({"code": "unauthenticated", "message": "over"}, 401)
    web.says({}, x_session_token="t2")
    with connect() as client:
        assert client.api.token == "t2"
    assert json.loads(web.last.body) == {"login": "admin", "password": "pw"}
    assert json.loads(tokens.read_bytes()) == {web.url: "t2"}


def test_a_logout_ends_the_login_here_and_at_the_server(web: Web, tmp_path: Path, tokens: Path):
    log_in(web, tmp_path)
    web.says(ANN)
    logout()
    assert web.last.path == "/session/logout"
    assert json.loads(tokens.read_bytes()) == {}


def test_a_file_of_tokens_that_is_damaged_is_no_login(web: Web, tokens: Path):
    tokens.parent.mkdir(parents=True)
    tokens.write_bytes(b"{")
    with pytest.raises(Unauthenticated, match="not logged in"):
        connect()


def test_a_login_at_another_server_than_that_of_the_commands_tells_how_to_use_the_login(
    web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    log_in(web, tmp_path)
    assert "export" not in capsys.readouterr().out, "the commands use this server already"
    monkeypatch.delenv("HAULBACK_SERVER")
    log_in(web, tmp_path)
    assert f"export HAULBACK_SERVER={web.url}" in capsys.readouterr().out
    with pytest.raises(Unauthenticated, match=f"or `export HAULBACK_SERVER={web.url}`"):
        connect()


def test_a_login_that_cannot_be_saved_is_used_all_the_same(
    web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "home").write_text("a file in place of the folder")
    log_in(web, tmp_path)
    shown = capsys.readouterr().out
    assert "not saved: [Errno 20]" in shown
    assert f"logged in at {web.url} as ann" in shown


def test_a_password_comes_from_the_file_the_environment_or_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "p"
    file.write_text("from file\n")
    monkeypatch.setenv("HAULBACK_NEW_PASSWORD", "from environment")
    assert ask_password("?", "HAULBACK_NEW_PASSWORD", file) == "from file"
    assert ask_password("?", "HAULBACK_NEW_PASSWORD", None) == "from environment"
    monkeypatch.delenv("HAULBACK_NEW_PASSWORD")
    monkeypatch.setattr(sys, "stdin", io.StringIO("from input\nmore\n"))
    assert ask_password("?", "HAULBACK_NEW_PASSWORD", None) == "from input"


def test_nothing_is_taken_away_without_a_yes(monkeypatch: pytest.MonkeyPatch):
    assert Consent(yes=True).agree()
    assert not Consent(yes=True, dry_run=True).agree()
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(Malformed, match="add -y"):
        Consent().agree()


@pytest.mark.parametrize(
    ("said", "agreed"), [("y", True), (" YES ", True), ("", False), ("n", False)]
)
def test_a_person_at_a_terminal_is_asked(monkeypatch: pytest.MonkeyPatch, said: str, agreed: bool):
    terminal = io.StringIO(f"{said}\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    if agreed:
        assert Consent().agree()
    else:
        with pytest.raises(Malformed, match=r"^nothing was done$"):
            Consent().agree()


# Cyclopts warns of a test that passes no words, because they are in sys.argv.
from_arguments = pytest.mark.filterwarnings("ignore:Cyclopts")


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int | str | None:
    """Exit code of a command that runs in this process."""
    monkeypatch.setattr(sys, "argv", ["haulback", *words])
    with pytest.raises(SystemExit) as ended:
        main.main()
    return ended.value.code


@from_arguments
@pytest.mark.parametrize(
    ("code", "status", "exit_code"),
    [("not_found", 404, 5), ("forbidden", 403, 4), ("conflict", 409, 6), ("malformed", 400, 2)],
)
def test_an_error_of_the_server_is_one_line_and_an_exit_code(
    web: Web,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: str,
    status: int,
    exit_code: int,
):
    log_in(web, tmp_path)
    capsys.readouterr()
    web.says(ANN)
    web.says({"code": code, "message": "because of this"}, status)
    assert run(monkeypatch, "task", "show", "3f2b8c1e-0d4a-4f6e-9b7a-5c1d2e3f4a5b") == exit_code
    assert capsys.readouterr().err == "haulback: because of this\n"


@from_arguments
def test_the_api_command_sends_what_it_is_told(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    log_in(web, tmp_path)
    capsys.readouterr()
    web.says(ANN)
    web.says({"a": [1]})
    assert run(monkeypatch, "api", "POST", "/x", '{"b": 2}') in (None, 0)
    assert (web.last.method, web.last.path, json.loads(web.last.body)) == ("POST", "/x", {"b": 2})
    assert json.loads(capsys.readouterr().out) == {"a": [1]}
