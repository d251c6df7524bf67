"""Fixtures of the tests of file systems."""

from __future__ import annotations

import pytest

from tests.unit.filesystems import readers


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers run in the tests' own process, through the same sockets: the sandbox has no files,
    so nothing measures the code that runs in it.
    """
    monkeypatch.setattr("haulback.filesystems.sandbox_client._spawn", readers.start)
