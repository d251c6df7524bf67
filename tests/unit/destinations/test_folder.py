"""A folder as a destination leaves nothing half-written about."""

from __future__ import annotations

from pathlib import Path

import pytest

from haulback.destinations.folder import Folder
from haulback.errors import Conflict


def test_what_is_stored_already_is_refused_and_no_copy_of_it_stays(tmp_path: Path):
    folder = Folder(tmp_path, owner="attempt-2")
    folder.store("manifests/a", b"first")
    with pytest.raises(Conflict):
        folder.store("manifests/a", b"second")
    assert folder.load("manifests/a") == b"first"
    assert not list((tmp_path / ".tmp").iterdir())
