"""Fixtures of the tests of file systems."""

from __future__ import annotations

import pytest

from tests.unit.filesystems import readers


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers run in the tests' own process, through the same sockets, because coverage cannot be
    measured in the sandbox, which has no files.
    """
    monkeypatch.setattr("haulback.filesystems.sandbox_client._spawn", readers.start)
