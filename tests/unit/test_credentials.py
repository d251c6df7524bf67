"""Secrets come from files, standard input or variables, and are hidden from child processes."""

from __future__ import annotations

import ast
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from haulback import credentials
from haulback.cli.connection import ask_password, login
from haulback.cli.nodes import run_node
from haulback.cli.programs import up
from haulback.cli.server_options import ServerOptions
from haulback.cli.server_program import server
from haulback.client.client import Client
from haulback.errors import Malformed, Unavailable
from haulback.loopback import check_plain, is_loopback
from haulback.node import main
from tests.programs import Program

SECRETS = {
    "HAULBACK_ADMIN_PASSWORD": "s3cret-admin-password",
    "HAULBACK_NEW_PASSWORD": "s3cret-new",
    "HAULBACK_TOKEN": "s3cret-token",
    "HAULBACK_ENROLMENT_TOKEN": "s3cret-enrolment",
    "HAULBACK_PASSPHRASE": "s3cret-passphrase",
    "HAULBACK_DATABASE": "postgresql://haulback:s3cret-database@db/haulback",
    "PGPASSWORD": "s3cret-driver",
}


def shown(pid: str) -> str:
    """The arguments and the environment of a process, as other users read them."""
    try:
        texts = [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
    except OSError:
        return ""
    return b"\0".join(texts).decode(errors="replace")


def _command(pid: int | str) -> str:
    """The command line of a process; "" after its end."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def children(pid: int) -> list[str]:
    """All descendants of a process."""
    found: list[str] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [child, *children(int(child))]
    return found


@pytest.mark.slow
def test_the_node_of_up_bears_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    program = Program(tmp_path / "log", "up", "--data", str(tmp_path / "data"), "--port", "0")
    try:
        assert program.start().startswith("Haulback listens"), (tmp_path / "log").read_text()
        assert program.process
        end = time.monotonic() + 60
        own, texts = _command(program.process.pid), [""]
        while not any("--leash" in text for text in texts):
            # Between fork and exec a child still shows its parent's memory.
            result = [item for item in children(program.process.pid) if _command(item) != own]
            texts = [text for item in result if (text := shown(item))]
            assert time.monotonic() < end
        for text in texts:
            assert "s3cret" not in text
    finally:
        program.end()


def test_children_inherit_no_secret_and_everything_else(monkeypatch: pytest.MonkeyPatch):
    for name, value in {**SECRETS, "HAULBACK_FUTURE_TOKEN": "s3cret-future"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HAULBACK_LOG", "INFO")
    found = credentials.for_children({"MORE": "1"})
    assert "s3cret" not in str(found)
    assert (found["HAULBACK_LOG"], found["MORE"], "PATH" in found) == ("INFO", "1", True)


@pytest.mark.slow
def test_every_child_is_given_an_environment():
    source = Path(credentials.__file__).parent
    for path in source.rglob("*.py"):
        if path.is_relative_to(source / "testing"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in _STARTS:
                given = {word.arg for word in node.keywords}
                assert "env" in given, f"{path}:{node.lineno} starts a child without env="


_STARTS = {f"subprocess.{name}" for name in ("Popen", "run", "call", "check_call", "check_output")}


def test_a_command_takes_the_secrets_out_of_its_environment():
    code = (
        "import os, subprocess, sys\n"
        "from haulback import credentials\n"
        "credentials.take()\n"
        "sys.stdout.write(subprocess.check_output(['env']).decode())\n"
        "sys.stdout.write(credentials.get('HAULBACK_TOKEN'))\n"
    )
    environment = {**os.environ, **SECRETS}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    rest = done.stdout.removesuffix("s3cret-token")
    assert rest != done.stdout
    assert "s3cret" not in rest


def test_every_secret_can_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "token"
    file.write_text("from a file\nand more\n")
    monkeypatch.delenv("HAULBACK_TOKEN", raising=False)
    monkeypatch.setenv("HAULBACK_TOKEN_FILE", str(file))
    assert credentials.get("HAULBACK_TOKEN") == "from a file"
    monkeypatch.setenv("HAULBACK_TOKEN", "said")
    assert credentials.get("HAULBACK_TOKEN") == "said"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * 5000])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(Malformed, match="--password-file"):
        credentials.read(tmp_path / "file", "--password-file")
    with pytest.raises(Malformed, match="--password-file"):
        credentials.read(tmp_path / "none", "--password-file")
    with pytest.raises(Malformed, match="--password-file"):
        credentials.read(tmp_path, "--password-file")


def test_a_password_is_read_from_standard_input_without_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("HAULBACK_NEW_PASSWORD", raising=False)
    for file in (None, Path("-")):
        monkeypatch.setattr(sys, "stdin", io.StringIO("correct horse\n"))
        assert ask_password("", "HAULBACK_NEW_PASSWORD", file) == "correct horse"
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(Malformed, match="--password-file"):
        ask_password("", "HAULBACK_NEW_PASSWORD", None)


def test_a_token_in_the_command_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    nowhere = "http://127.0.0.1:1"
    with pytest.raises(Malformed, match="--token-file"):
        run_node(server=nowhere, data=tmp_path, token="0123456789abcdef")
    monkeypatch.setattr(sys, "stdin", io.StringIO("a token\n"))
    with pytest.raises(Unavailable):
        run_node(server=nowhere, data=tmp_path, token="-")
    (tmp_path / "token").write_text("a token")
    with pytest.raises(Unavailable):
        run_node(server=nowhere, data=tmp_path, token_file=tmp_path / "token")


def test_a_database_password_in_the_command_line_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    url = "postgresql://haulback:s3cret@127.0.0.1:1/haulback"
    for arguments in (["--database", url], [f"--database={url}"]):
        monkeypatch.setattr(sys, "argv", ["haulback", "server", *arguments])
        with pytest.raises(Malformed, match="HAULBACK_DATABASE") as caught:
            server(database=url, how=ServerOptions(data=tmp_path))
        assert "s3cret" not in caught.value.message
    monkeypatch.setattr(sys, "argv", ["haulback", "server"])
    credentials.check_url(url, "--database", sys.argv[1:])


FAR = [
    "http://192.0.2.1:8181",
    "http://backup.example",
    "http://[2001:db8::1]:8181",
    "HTTP://0.0.0.0:1",
    "http://127.0.0.1.example.org",
    "http://localhost@192.0.2.1",
]
NEAR = ["http://127.0.0.1:8181", "http://127.8.9.1", "http://[::1]:8181", "http://LOCALHOST:1"]


@pytest.mark.parametrize("url", FAR)
def test_plain_http_to_another_machine_is_refused_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
):
    monkeypatch.delenv("HAULBACK_INSECURE_HTTP", raising=False)
    monkeypatch.setenv("HAULBACK_ADMIN_PASSWORD", "correct horse")
    for call in (
        lambda: Client(url),
        lambda: login(server=url),
        lambda: main.run(main.NodeSettings(data=tmp_path / "node", server=url)),
    ):
        with pytest.raises(Malformed, match="--insecure-http"):
            call()
    assert not (tmp_path / "node").exists()
    check_plain(url, is_allowed=True)
    with Client(url.replace("ftp", "http"), insecure_http=True):
        pass


@pytest.mark.parametrize("url", [*NEAR, "https://192.0.2.1", "https://backup.example:8181"])
def test_plain_http_to_this_machine_and_https_are_fine(url: str):
    check_plain(url, is_allowed=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "backup.example", "::"])
def test_a_server_without_tls_stays_on_loopback(tmp_path: Path, host: str):
    assert not is_loopback(host)
    for program in (up, server):
        with pytest.raises(Malformed, match="--insecure-http"):
            program(how=ServerOptions(data=tmp_path / "data", host=host, port=0))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg2://u:p@h/d",
        "postgresql://h/d?user=u&password=p",
        "POSTGRESQL://u:p@h/d",
        "postgresql://u:p/q@h/d",
    ],
)
def test_a_password_in_a_url_is_found_in_every_form(url: str):
    with pytest.raises(Malformed, match="HAULBACK_DATABASE"):
        credentials.check_url(url, "--database", ["--database", url])


@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://192.0.2.1", "http://", "http://127.0.0.1:99999"]
)
def test_a_text_that_is_no_url_of_a_server_is_refused_with_an_example(url: str):
    with pytest.raises(Malformed, match="is not the URL of a server"):
        Client(url)
