"""HTTP access to an object store without its client library: certificate authority and proxy."""

from __future__ import annotations

import re
import ssl
import urllib.request
from pathlib import Path
from typing import Any

from haulback.contract.destination_types import AzureSettings, S3Settings
from haulback.errors import Misconfigured

_URL = re.compile(r"https?://\S+")
# Signs of rustls and of OpenSSL in the text of an error, and the sentence for the user.
_TLS_PROBLEMS = (
    (
        ("InvalidContentType", "WRONG_VERSION_NUMBER"),
        "the store does not speak TLS at this address: write http:// or another port in `endpoint`",
    ),
    (
        ("NotValidForName", "mismatch"),
        "the certificate of the store is for another name: give `endpoint` the name that the "
        "certificate holds",
    ),
    (
        ("CaUsedAsEndEntity",),
        "the store presents the certificate of an authority as its own: make the store a "
        "certificate with basicConstraints CA:FALSE, and name that one in `ca`",
    ),
    (
        ("Expired", "has expired", "NotValidYet", "not yet valid"),
        "the certificate of the store is not valid today: renew the certificate, or set the "
        "clock of the node",
    ),
    (
        ("UnknownIssuer", "certificate", "Certificate", "SSL", "tls"),
        "the certificate of the store is not trusted: name its authority in `ca`",
    ),
)


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


def tls_problem(text: str) -> str:
    """The sentence for an error of TLS, from the text of a library's error; "" for other errors."""
    told = _URL.sub("", text)  # a bucket may be called tls
    for signs, sentence in _TLS_PROBLEMS:
        if any(sign in told for sign in signs):
            return sentence
    return ""


def authority(ca: str) -> bytes:
    """The bytes of the certificate file of the setting `ca`.  Raises Misconfigured."""
    try:
        return Path(ca).read_bytes()
    except OSError as error:
        raise Misconfigured(f"ca: {ca} cannot be read on this node: {error.strerror}") from error


def client_options(settings: S3Settings | AzureSettings, *, allow_http: bool) -> Any:
    """The options of an obstore client that the settings of S3 and Azure have in common.

    Raises Misconfigured for a certificate file that cannot be read.
    """
    options: dict[str, object] = {
        "allow_http": allow_http,
        "timeout": f"{settings.requestTimeout}s",
        "connect_timeout": f"{settings.connectTimeout}s",
    }
    if settings.proxy:
        options["proxy_url"] = settings.proxy
    if settings.ca:
        options["root_certificate"] = authority(settings.ca)
    return options
