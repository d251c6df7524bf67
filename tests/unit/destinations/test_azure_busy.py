"""A busy account of Azure gets the pause that it asks for."""

from __future__ import annotations

import base64

import pytest

from haulback.contract.destination_types import AzureSettings
from haulback.destinations.azure import Azure
from haulback.errors import Unavailable
from haulback.testing.faulty_http import HttpFault, faulty_http


def test_the_pause_that_a_busy_account_asks_for_is_in_the_error():
    with faulty_http("http://127.0.0.1:1") as proxy:
        proxy.plan, proxy.retry_after = (lambda *_: HttpFault.BUSY), "7"
        key = base64.b64encode(b"key").decode()
        settings = AzureSettings(
            account="acct", container="vault", endpoint=f"{proxy.url}/acct", accountKey=key
        )
        with pytest.raises(Unavailable, match="limits the rate") as caught:
            Azure(settings).load("packs/a")
    assert caught.value.details["retryAfter"] == 7
