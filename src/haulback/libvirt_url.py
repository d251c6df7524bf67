"""Address of a remote libvirt: `qemu+ssh://[user@]host[:port]/system[?…]`."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from haulback.errors import Malformed

SCHEME = "qemu+ssh"
_USER, _HOST = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", r"[A-Za-z0-9][A-Za-z0-9._-]{0,253}"
_V6 = r"\[[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9._-]{1,20})?\]"
_URL = re.compile(
    rf"qemu\+ssh://(?:(?P<user>{_USER})@)?(?P<host>{_HOST}|{_V6})(?::(?P<port>[0-9]{{1,5}}))?"
    r"/(?P<path>system|session)(?:\?(?P<more>[^#\s]{1,1000}))?"
)
_PATH = r"/[^?&#\s\0]{1,400}"
_KNOWN = {
    "socket": _PATH,
    "keyfile": _PATH,
    "known_hosts": _PATH,
    "haulback": _PATH,
    "no_verify": "[01]",
}


class Address(NamedTuple):
    """The address of a libvirt that is reached by SSH; "" and 0 leave the choice to the SSH
    configuration.

    `uri` is the libvirt URI on the host. `keyfile` and `known_hosts` are files on the node,
    `haulback` is the path of the program on the host. `verify` is False if any host key is
    accepted.
    """

    host: str
    uri: str
    user: str = ""
    port: int = 0
    keyfile: str = ""
    known_hosts: str = ""
    verify: bool = True
    haulback: str = ""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Parse and check a `qemu+ssh` URL. Raises Malformed for a bad URL or an unknown
        parameter.
        """
        match = _URL.fullmatch(url)
        if not match or int(match["port"] or 1) not in range(1, 65536):
            raise Malformed(f"{url[:200]!r} is not qemu+ssh://[user@]host[:port]/system[?…]")
        more = _parameters(match["more"] or "")
        socket = more.pop("socket", "")
        path = f"/{match['path']}"
        way = f"qemu+unix://{path}?socket={socket}" if socket else f"qemu://{path}"
        verify = more.pop("no_verify", "0") == "0"
        port, host = int(match["port"] or 0), match["host"].strip("[]")
        return cls(host, way, match["user"] or "", port, verify=verify, **more)


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split("&") if text else []:
        name, _, raw = part.partition("=")
        found[name] = value = unquote(raw)
        if not re.fullmatch(_KNOWN.get(name, ""), value) or not value:
            known = ", ".join(f"{one}=/…" for one in _KNOWN if one != "no_verify")
            raise Malformed(f"unknown parameter {part[:80]!r}; use {known} or no_verify=1")
    return found
