"""Members of records in command lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from haulback.cli import written
from haulback.client.client import Client
from haulback.contract.credentials import Credential
from haulback.errors import Malformed


def test_a_secret_comes_from_a_file_and_not_from_the_command_line(tmp_path: Path):
    client, file = Client("http://127.0.0.1:1"), tmp_path / "key"
    file.write_text("line 1\nline 2\n")
    words = (f"privateKey=@{file}", "username=ops")
    found = written.changed({}, words, Credential, client)
    assert found == {"privateKey": "line 1\nline 2", "username": "ops"}
    for wrong in ("password=swordfish", f"password=@{tmp_path}/none"):
        with pytest.raises(Malformed) as caught:
            written.changed({}, (wrong,), Credential, client)
        assert caught.value.details["field"] == "password"
