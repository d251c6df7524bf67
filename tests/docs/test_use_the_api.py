"""The how-to about the API is run with curl and with the Python client."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.test_how_to import DOCS, blocks
from tests.images import raw_machine
from tests.programs import PASSWORD, Site

PAGE = DOCS / "howto" / "use-the-api.md"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("api"), lease=5.0)
    try:
        made.open()
        here = made.folder / "here"
        here.mkdir()
        raw_machine(here, "web", str(uuid.uuid4()))
        made.add("/hypervisors", "here", here)
        yield made
    finally:
        made.close()


def carried_out(site: Site, *command: str) -> str:
    """The output of a program that succeeds and leaves no task on the lists."""
    where = {"HAULBACK_SERVER": site.api.url, "HAULBACK_ADMIN_PASSWORD": PASSWORD}
    env = {**os.environ, **where}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.api.get("/tasks") == []
    return done.stdout


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("jq"), reason="needs curl and jq")
def test_a_machine_is_backed_up_and_brought_back_with_curl(site: Site):
    said = carried_out(site, "bash", "-euc", "\n".join(blocks(PAGE, "sh")))
    assert '"status": "SUCCESS"' in said
    assert (site.folder / "here" / "web-by-curl" / "machine.json").exists()


def test_a_machine_is_backed_up_and_brought_back_with_the_client(site: Site, tmp_path: Path):
    script = tmp_path / "script.py"
    [text] = blocks(PAGE, "python")
    script.write_text(text)
    said = carried_out(site, sys.executable, str(script))
    assert said.startswith("SUCCESS")
    assert "IMPORT 100%" in said
    assert (site.folder / "here" / "web-by-python" / "machine.json").exists()
