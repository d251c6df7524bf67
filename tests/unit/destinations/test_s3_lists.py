"""A listing of several folders keeps no objects that lie between them."""

from __future__ import annotations

import tracemalloc
from typing import Any

import obstore
import pytest
from obstore.store import MemoryStore

from haulback.contract.destination_types import S3Settings
from haulback.destinations.protocol import IDENTITY
from haulback.destinations.s3 import S3
from haulback.units import KIB

STRANGERS = 3000  # more than a page
WANTED = {"damage/a", IDENTITY, "index/a", "index/b"}


@pytest.fixture
def store() -> S3:
    made = S3(S3Settings("bucket", "key", "secret"))
    client: Any = MemoryStore()  # the library's own store replaces the network store
    made.client = client
    for name in (*WANTED, "blobs/a", "indexes/a", "packs/a"):
        obstore.put(client, name, b"x")
    for number in range(STRANGERS):
        obstore.put(client, f"extracts/{number:060}", b"x")
    return made


def test_names_between_the_folders_are_not_kept(store: S3):
    tracemalloc.start()
    names = {item.name for item in store.list_many(["index", "damage"])}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert names == WANTED
    assert peak < 200 * KIB  # a page of the library rather than the 720 KiB of all names
