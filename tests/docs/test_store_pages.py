"""The example files of the page about S3 hold values that the commands of the page accept.

tests/integration/test_s3_site.py replaces these values by those of a real store.
"""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest

from haulback.cli.destination_settings import read_settings
from haulback.contract.destination_types import by_name
from tests.docs.test_how_to import DOCS, blocks

PAGE = DOCS / "howto" / "store-on-s3.md"


def test_the_secrets_in_the_example_files_are_secrets_that_the_server_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kind = by_name("S3")
    assert kind
    files, add, *_ = blocks(PAGE, "sh")
    subprocess.run(["bash", "-euc", files], check=True, cwd=tmp_path)
    words = add.split("haulback destination show")[0].split()
    options = [
        [word for before, word in itertools.pairwise(words) if before == option]
        for option in ("--set", "--secret")
    ]
    monkeypatch.chdir(tmp_path)
    given = read_settings(kind, None, *options)
    assert given["deleteAccessKeyId"] == "AKIADELETE"
