"""Commands that run in this process, against a server with prepared answers and with a separate
home folder.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.web import Web, served


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    with served("HTTP/1.0") as made:  # commands leave connections open until their process ends
        monkeypatch.setenv("HAULBACK_SERVER", made.url)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
        for name in ("HAULBACK_TOKEN", "HAULBACK_ADMIN_PASSWORD", "HAULBACK_TRUST"):
            monkeypatch.delenv(name, raising=False)
        yield made
