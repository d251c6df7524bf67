"""Members of records in command lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from haulback.cli import records
from haulback.contract.credentials import Credential
from haulback.errors import Malformed


def test_a_secret_comes_from_a_file_and_not_from_the_command_line(tmp_path: Path):
    file = tmp_path / "key"
    file.write_text("line 1\nline 2\n")
    words = (f"privateKey=@{file}", "username=ops")
    found = records._members(words, Credential)
    assert found == {"privateKey": "line 1\nline 2", "username": "ops"}
    for wrong in ("password=swordfish", f"password=@{tmp_path}/none"):
        with pytest.raises(Malformed) as caught:
            records._members((wrong,), Credential)
        assert caught.value.details["field"] == "password"
