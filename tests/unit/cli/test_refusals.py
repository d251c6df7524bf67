"""A command refuses words that it cannot use, names them, and sends no request."""

from __future__ import annotations

import json
import ssl
import sys
from pathlib import Path

import pytest

from haulback.cli import demo, main
from haulback.cli.log_start import start_log
from haulback.cli.nodes import _portal
from haulback.cli.repository_care import _signer
from haulback.cli.server_options import ServerOptions
from haulback.client import api
from haulback.errors import HaulbackError, Malformed, Unavailable, Unsupported
from haulback.logs import LogFormat
from tests.unit.web import Web

ME = {"guid": "u", "name": "ann", "login": "ann", "roles": [], "privileges": []}
ME |= {"uiTimeZone": "UTC", "appUserSettings": {"unmountPeriodForMountedBackups": 1}}
# Cyclopts warns of a test that passes no words, because they are in sys.argv.
from_arguments = pytest.mark.filterwarnings("ignore:Cyclopts")


@pytest.fixture
def logged_in(web: Web, tmp_path: Path) -> Web:
    folder = tmp_path / "home" / "haulback"
    folder.mkdir(parents=True)
    (folder / "tokens.json").write_text(json.dumps({web.url: "t1"}))
    web.says(ME)
    return web


def run(monkeypatch: pytest.MonkeyPatch, line: str) -> int | str | None:
    """Exit code of a command line that runs in this process."""
    monkeypatch.setattr(sys, "argv", ["haulback", *line.split()])
    with pytest.raises(SystemExit) as ended:
        main.main()
    return ended.value.code


REFUSED = [
    ("machine rm", "name at least one machine"),
    ("machine rm web --gone --watch", "--gone submits no task: leave out --watch"),
    ("machine rm web --gone --key k", "--gone submits no task: leave out --watch"),
    ("snapshot clean", "name at least one machine"),
    ("hypervisor sync", "name at least one hypervisor"),
    ("hypervisor add kvm qemu:///system", "name the URL of libvirt by --libvirt"),
    ("tape sync", "name at least one object by its guid"),
    ("alarm ls --size=-1", "--size"),
    ("task ls --size=-1", "--size"),
    ("task rm", "name at least one task by its guid"),
    ("task cancel a b --info", "--info"),
    ("task clear --queued --running", "leave out --queued"),
    ("backup confirm-missing", "name at least one backup by its guid"),
    ("backup mark remove", "name at least one backup by its guid"),
    ("backup mark archive latest --until tomorrow", "--until tomorrow: write 2026-11-27T07:00"),
    ("tape eject LTO123", "'LTO123': Haulback does not use tapes; store on a folder"),
    ("mount get 11111111-1111-4111-8111-111111111111", "name at least one path"),
    ("schedule resume", "name a schedule, or write --all"),
    ("schedule resume nightly --all", "name a schedule, or write --all"),
    ("schedule add night --at 22:00 --every 4h", "one of --at, --every and --cron"),
    ("retention confirm", "name at least one rule or --destination, or --all"),
    ("retention confirm keep --all", "name at least one rule or --destination, or --all"),
    ("report --from yesterday", "--from yesterday: write 2026-11-27T07:00"),
    ("report mail ops@example.org --to soon", "--to soon"),
    ("repository verify /tmp --depth 4", "--depth is 1, 2 or 3"),
    ("demo --megabytes 0", "--megabytes: give a number of at least 1"),
    ("demo --data /tmp --once", "leave it out to keep --data"),
    ("demo --data /tmp", "exists already"),
    ("server --port 80000", "name a port from 0 (any free port) to 65535"),
    ("server --data /dev/null/x", "a file is in the way; name a folder"),
    ("server --tls-cert /no/cert --tls-key /no/key", "--tls-cert: /no/cert cannot be read"),
    ("server --database sqlite:////proc/x/y.db", "check the path"),
    ("login --server nonsense", "is not the URL of a server"),
    ("login --server http://127.0.0.1:99999", "is not the URL of a server"),
    ("user reset-password --data /no/such", "there is no database /no/such/haulback.db"),
    ("repository init /proc/x --key-file /no/key", "check the path"),
    ("server --lease 0", "--lease must be between"),
    ("server --limit sideways=1", "write LANE=COUNT"),
    ("server --limit export=none", "write LANE=COUNT"),
    ("server --time-zone Mars/Olympus", "name an IANA zone"),
    ("server --report-at noon", "write hours and minutes"),
    ("server --notify-network 127.0.0.0/99", "--notify-network 127.0.0.0/99: write a network"),
    ("server --notify-network localhost", "--notify-network localhost: write a network"),
    ("node --server http://127.0.0.1:1 --iscsi here", "not an address and port"),
    (
        "repository ls /tmp --kit /no/kit",
        "/no/kit cannot be read: No such file or directory; check",
    ),
    ("destination attach v /v --kit /no/kit", "--kit /no/kit cannot be read: No such file or dir"),
    (
        "destination add s --type S3 --set bucket=b --secret accessKeyId=/no/key",
        "--secret: /no/key cannot be read: No such file or directory; check the path",
    ),
    ("server restore-database /tmp --backup latest", "--backup: name the new folder of the server"),
    ("server restore-database /tmp --database sqlite:////x", "--database: name the new folder"),
    ("destination set bd", "name at least one option to change; `haulback destination set --help`"),
    ("hypervisor set hv", "name at least one option to change; `haulback hypervisor set --help`"),
    (
        "destination copying far --mib-per-second=-3",
        "--mib-per-second: -3 is not 0 (no limit), nor",
    ),
    ("destination copying far --mib-per-second nan", "--mib-per-second: nan is not 0"),
    ("destination copying far --start 25 --end 6", "--start: 25 is not an hour from 0 to 24"),
    ("destination copying far --start 20", "--start, --end: name both hours, or neither"),
    ("destination set bd --verify-hours 0", "--verify-hours: 0 is not between 0.02 and 24"),
    ("destination limit bd", "name the limit to change: --quota or --free"),
    ("repository verify /tmp", "name --key-file or --kit, or put the passphrase"),
    ("destination limit bd --quota nan", "--quota: a number of GiB, 0 or more"),
    ("destination limit bd --free inf", "--free: a number of GiB, 0 or more"),
    ("destination limit bd --free=-1", "--free: a number of GiB, 0 or more"),
    ("bakcup", 'Did you mean "backup"? See `haulback --help`'),
    ("backup creat web", 'Did you mean "create"? See `haulback backup --help`'),
    ("backup create web --wach", "--wach. Did you mean --watch? See `haulback backup create"),
    ("login admn", "does not take the argument 'admn'; leave it out; see `haulback login --help`"),
    ("up --port many", 'unable to convert "many" into int; see `haulback up --help`'),
    ("restore machine web", "--hypervisor requires an argument; see `haulback restore machine"),
    ("up --data", "--data requires an argument; see `haulback up --help`"),
]


@from_arguments
@pytest.mark.parametrize(("line", "told"), REFUSED, ids=[line for line, _ in REFUSED])
def test_words_that_no_command_can_act_on_are_refused_with_the_remedy(
    logged_in: Web,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    told: str,
):
    assert run(monkeypatch, line) not in (0, None)
    said = capsys.readouterr()
    assert told in " ".join((said.err + said.out).split())
    if not said.out:  # repair and verify print their findings
        assert said.err.startswith("haulback: ")
        assert len(said.err.splitlines()) == 1
    assert {asked.path for asked in logged_in.asked} <= {"/user-info"}


EMPTY_PATHS = (
    ["destination", "add", "bd"],
    ["destination", "attach", "bd"],
    ["destination", "move", "bd"],
    ["hypervisor", "add", "hv"],
    ["repository", "kit"],
    ["repository", "ls"],
    ["repository", "forget"],
)


@from_arguments
@pytest.mark.parametrize("words", EMPTY_PATHS, ids=" ".join)
@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_path_does_not_stand_for_the_present_folder(
    logged_in: Web,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    empty: str,
):
    monkeypatch.setattr(sys, "argv", ["haulback", *words, empty])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"{empty!r} is no path: name a folder" in line
    assert not logged_in.asked


@from_arguments
@pytest.mark.parametrize("words", [("node", "token"), ("task", "queued")])
def test_an_empty_word_for_a_node_does_not_stand_for_no_node(
    logged_in: Web,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, str],
):
    logged_in.says([])
    monkeypatch.setattr(sys, "argv", ["haulback", *words, ""])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 5
    assert "there is no node ''" in capsys.readouterr().err


@from_arguments
def test_a_tape_by_its_name_ends_like_a_kind_that_is_not_built(
    logged_in: Web, monkeypatch: pytest.MonkeyPatch
):
    assert run(monkeypatch, "tape eject LTO123") == 6


@pytest.mark.parametrize("text", ["", "10.0.0.5", ":3260", "10.0.0.5:port", "10.0.0.5:70000"])
def test_an_iscsi_portal_is_an_address_and_a_port(text: str):
    with pytest.raises(Malformed, match=r"write it like 10\.0\.0\.5:3260"):
        _portal(text)
    assert _portal("10.0.0.5:3260") == "10.0.0.5:3260"


def test_an_unknown_level_of_the_log_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HAULBACK_LOG", "LOUD")
    with pytest.raises(Malformed, match="write DEBUG, INFO, WARNING or ERROR"):
        start_log(LogFormat.TEXT)


def test_the_password_of_a_server_comes_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "p").write_text("from file\n")
    monkeypatch.setenv("HAULBACK_ADMIN_PASSWORD", "from environment")
    assert ServerOptions(password_file=tmp_path / "p").settings().password == "from file"
    assert ServerOptions().settings().password == "from environment"


def test_a_user_without_a_name_signs_with_a_number(monkeypatch: pytest.MonkeyPatch):
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 4242")

    monkeypatch.setattr("getpass.getuser", nameless)
    monkeypatch.setattr("os.getuid", lambda: 4242)
    assert _signer()[0] == "haulback repository, by user 4242"


def test_a_demo_whose_server_does_not_start_shows_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "python").write_text("#!/bin/sh\necho no port is free >&2\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    server = demo._Server(tmp_path)
    with pytest.raises(Unavailable, match=r"did not start: no port is free"):
        server.start()
    server.stop()


def test_a_running_demo_names_the_missing_programs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("haulback.testing.libvirt_lab.missing", lambda: "libvirt-daemon")
    with pytest.raises(Unsupported, match="install libvirt-daemon first"):
        demo.demo(running=True)


def test_a_program_of_the_demo_that_fails_is_named_with_its_reason():
    with pytest.raises(HaulbackError, match=r"ls failed: .*No such file"):
        demo._call("ls", "/no/such/file")


ERRORS = [
    (PermissionError(13, "Permission denied", "/srv/x"), 4, "/srv/x: Permission denied: give the"),
    (OSError(28, "No space left on device"), 7, "make room"),
    (OSError(30, "Read-only file system", "/srv"), 4, "mount it writable"),
    (IsADirectoryError(21, "Is a directory", "/srv"), 2, "name a file"),
    (ModuleNotFoundError("No module named 'psycopg'", name="psycopg"), 1, "package psycopg"),
    (EOFError(), 2, "standard input ended"),
    (ssl.SSLError(1, "bad"), 2, "a certificate or key cannot be used"),
    (ZeroDivisionError("division by zero"), 1, "internal error: ZeroDivisionError: division"),
]


@from_arguments
@pytest.mark.parametrize(
    ("error", "code", "line"), ERRORS, ids=[type(error).__name__ for error, _, _ in ERRORS]
)
def test_any_error_of_a_command_is_one_line_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    line: str,
):
    def broken() -> None:
        raise error

    monkeypatch.setattr(main, "app", broken)
    assert run(monkeypatch, "status") == code
    said = capsys.readouterr().err
    assert line in said
    assert said.startswith("haulback: ")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("why", "remedy"),
    [
        ("[Errno 111] Connection refused", "start the server, or name another by --server"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "write http://"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed", "HAULBACK_TRUST=FILE"),
        ("[Errno -2] Name or service not known", "correct the name of the machine"),
        ("Server disconnected without sending a response.", "write https://"),
    ],
)
def test_a_server_that_is_not_reached_is_named_with_the_remedy_of_its_cause(why: str, remedy: str):
    said = api._no_answer("http://127.0.0.1:8181", OSError(why))
    assert said.startswith("http://127.0.0.1:8181 does not answer: ")
    assert remedy in said


@from_arguments
@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (BrokenPipeError, 1)])
def test_an_interrupted_command_ends_with_its_own_code(
    logged_in: Web, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], code: int
):
    def interrupted() -> None:
        raise error

    monkeypatch.setattr(main, "app", interrupted)
    assert run(monkeypatch, "status") == code
