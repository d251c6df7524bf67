"""The install page agrees with the package, and its systemd units start a server and a node."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from haulback.client.api import Api
from tests.certificates import self_signed
from tests.docs.test_how_to import DOCS, blocks
from tests.programs import PASSWORD, Program, Site

PAGE = DOCS / "howto" / "install.md"
ROOT = DOCS.parent
UNITS = dict(zip(("server", "node"), blocks(PAGE, "ini"), strict=True))


def start_command(unit: str) -> list[str]:
    """The arguments of `haulback` in a unit."""
    [line] = re.findall(r"^ExecStart=(.+)$", UNITS[unit], re.MULTILINE)
    program, *arguments = shlex.split(line)
    assert program == "/usr/local/bin/haulback"
    assert arguments[0] == unit
    return arguments


def test_the_page_names_every_extra_of_the_package_and_no_other():
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.findall(r"^\| `([\w-]+)` \| ", PAGE.read_text().partition("by feature")[0], re.M)
    assert sorted(extras) == sorted(package["optional-dependencies"])
    assert list(package["scripts"]) == ["haulback"]


def test_the_setup_script_knows_every_package_that_the_page_names():
    table = PAGE.read_text().partition("by feature")[2].partition("## ")[0]
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \| [^|]+ \|$", table, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row)} - {"libvirt"}
    setup = (ROOT / "scripts" / "setup").read_text()
    assert named
    assert [name for name in sorted(named) if not re.search(rf"\b{name}\b", setup)] == []


def test_an_ordinary_user_gets_the_program_on_the_path(tmp_path: Path):
    """The link of the page is made and found in an empty home."""
    lines = next(block for block in blocks(PAGE, "") if "~/.local/bin" in block).splitlines()
    first = next(number for number, line in enumerate(lines) if "/.local/bin" in line)
    program = tmp_path / ".local" / "haulback" / "bin" / "haulback"
    program.parent.mkdir(parents=True)
    program.symlink_to(Path(sys.executable).with_name("haulback"))
    done = subprocess.run(
        ["bash", "-ec", "\n".join(lines[first:])],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+", done.stdout.strip())


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_no_page_needs_a_program_that_a_fresh_debian_lacks(page: Path):
    assert not re.search(r"^ *sudo ", page.read_text(), re.MULTILINE)


def test_the_node_unit_leaves_mounted_backups_alone_and_shares_the_host_s_folders():
    assert "\nKillMode=process\n" in UNITS["node"]
    for private in ("PrivateTmp=", "ProtectSystem=", "ProtectHome=", "PrivateMounts="):
        assert f"\n{private}" not in UNITS["node"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_accepts_the_unit(unit: str, tmp_path: Path):
    file = tmp_path / f"haulback-{unit}.service"
    # The program has another path in the test, and the page's user does not exist.
    text = UNITS[unit].replace("/usr/local/bin/haulback", shutil.which("true") or "")
    file.write_text(text.replace("User=haulback", "User=root"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if file.name in line]
    assert complaints == []


def test_the_units_start_a_server_with_tls_and_a_node_that_enrols(tmp_path: Path):
    certificate, key = self_signed(tmp_path)
    restores = tmp_path / "restores"
    restores.mkdir()
    places = {
        "/var/lib": str(tmp_path),
        "/etc/haulback/cert.pem": str(certificate),
        "/etc/haulback/key.pem": str(key),
        "/srv/restores": str(restores),
        "0.0.0.0": "127.0.0.1",
        "8181": "0",
    }
    site = Site(tmp_path / "site", tls=(certificate, key))
    site.server = Program(site.log, *mapped(start_command("server"), places))
    try:
        line = site.server.start()
        assert line.startswith("Haulback listens at https://"), site.log.read_text()
        places = {"https://backup.example:8181": line.split()[-1], **places}
        site.api = Api(line.split()[-1], trust=str(certificate))
        site.api.log_in("admin", PASSWORD)
        token = site.api.post("/nodes/enrolment")["token"]
        arguments = mapped(start_command("node"), places)
        token_file = tmp_path / "token"
        token_file.write_text(token)
        site.node = Program(site.log, *arguments, "--token-file", str(token_file))
        site.node.start()
        site.wait_for(lambda: [row for row in site.api.get("/nodes") if "lastSeen" in row])
    finally:
        site.close()


def mapped(arguments: list[str], places: dict[str, str]) -> list[str]:
    """Arguments of a unit with the paths of a test."""
    for named, here in places.items():
        arguments = [argument.replace(named, here) for argument in arguments]
    return arguments
