"""HTTP access to an object store without its client library: certificate authority and proxy."""

from __future__ import annotations

import ssl
import urllib.request
from pathlib import Path

from haulback.errors import Misconfigured


def opener(ca: str, proxy: str) -> urllib.request.OpenerDirector:
    """An opener of URLs that also trusts the authority in the file `ca`; "" for no authority or
    proxy.

    Raises OSError for a file that cannot be read.
    """
    trust = ssl.create_default_context()
    if ca:
        trust.load_verify_locations(ca)
    proxies = {"http": proxy, "https": proxy} if proxy else {}
    return urllib.request.build_opener(
        urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=trust)
    )


def authority(ca: str) -> bytes:
    """The bytes of the certificate file of the setting `ca`.  Raises Misconfigured."""
    try:
        return Path(ca).read_bytes()
    except OSError as error:
        raise Misconfigured(f"ca: {ca} cannot be read on this node: {error.strerror}") from error
