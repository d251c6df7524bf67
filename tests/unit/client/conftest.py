"""A client of a server with prepared answers."""

from collections.abc import Iterator

import pytest

from haulback.client.client import Client
from tests.unit.web import Web, served


@pytest.fixture
def web() -> Iterator[Web]:
    with served() as made:
        yield made


@pytest.fixture
def client(web: Web) -> Iterator[Client]:
    with Client(web.url, "secret") as made:
        yield made
