"""Disks on a network, read by QEMU's own block drivers while their machine is off."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree as ET

from haulback.wire import JsonObject

_RUNS = "which can be read only while the machine runs"
# Members of a disk or of its source without which QEMU cannot open the disk, and that need secrets
# or further processes.
_NEEDS = {
    "encryption": "an encrypted disk",
    "source/encryption": "an encrypted disk",
    "auth": "a disk behind a login",
    "source/auth": "a disk behind a login",
    "source/cookies": "a disk behind a login",
    "source/slices": "a part of a disk",
    "source/reservations": "a disk with reservations",
}
_PORTS = {"nbd": "10809", "ssh": "22", "iscsi": "3260", "http": "80", "https": "443", "ftp": "21"}


def unreadable(disk: ET.Element) -> str:
    """Reason why a disk cannot be read while its machine is off; "" for a readable disk."""
    kind = disk.get("type", "file")
    for path, words in _NEEDS.items():
        if disk.find(path) is not None:
            return f"{words}, {_RUNS}"
    if kind in ("file", "block", "volume"):
        return ""
    if kind == "network" and tree(disk) is not None:
        return ""
    source = disk.find("source")
    protocol = source.get("protocol", "") if source is not None else ""
    return f"a {f'{kind} disk ({protocol})' if protocol else f'{kind} disk'}, {_RUNS}"


def tree(disk: ET.Element) -> JsonObject | None:
    """QEMU's description of a network disk; None for a disk that QEMU cannot open by itself."""
    source, driver = disk.find("source"), disk.find("driver")
    if disk.get("type") != "network" or source is None:
        return None
    made = _PROTOCOLS.get(source.get("protocol", ""))
    file = made(source) if made and source.get("tls", "no") != "yes" else None
    if file is None:
        return None
    return {"driver": driver.get("type", "raw") if driver is not None else "raw", "file": file}


def server_of(tree: JsonObject) -> str:
    """The server of a disk that `tree` describes, the same for all disks of this server."""
    file = tree["file"]
    url = str(file.get("url", "")).split("/")[:3]
    return f"{file['driver']} {file.get('server') or file.get('portal') or '/'.join(url)}"


def _host(source: ET.Element) -> ET.Element:
    found = source.find("host")
    return found if found is not None else ET.Element("host")


def _address(source: ET.Element) -> JsonObject | None:
    """The server of a disk, as QEMU's socket address; None for an address of another kind."""
    host = _host(source)
    if host.get("transport") == "unix":
        return {"type": "unix", "path": host.get("socket", "")}
    if host.get("transport", "tcp") != "tcp" or not host.get("name"):
        return None
    port = host.get("port") or _PORTS.get(source.get("protocol", ""), "")
    return {"type": "inet", "host": host.get("name"), "port": port}


def _nbd(source: ET.Element) -> JsonObject | None:
    server = _address(source)
    return server and {"driver": "nbd", "server": server, "export": source.get("name", "")}


def _web(source: ET.Element) -> JsonObject | None:
    protocol, server = source.get("protocol", ""), _address(source)
    if not server or server["type"] != "inet":
        return None
    name = source.get("name", "").lstrip("/")
    url = f"{protocol}://{server['host']}:{server['port']}/{name}{source.get('query', '')}"
    made: JsonObject = {"driver": protocol, "url": url}
    if source.find("ssl[@verify='no']") is not None:
        made["sslverify"] = False
    return made


def _ssh(source: ET.Element) -> JsonObject | None:
    server = _address(source)
    if not server or server["type"] != "inet":
        return None
    where = {"host": server["host"], "port": server["port"]}
    return {"driver": "ssh", "server": where, "path": source.get("name", "")}


def _iscsi(source: ET.Element) -> JsonObject | None:
    server = _address(source)
    target, _, unit = source.get("name", "").partition("/")
    if not server or server["type"] != "inet" or not (unit or "0").isdecimal():
        return None
    portal = f"{server['host']}:{server['port']}"
    made: JsonObject = {"driver": "iscsi", "portal": portal, "transport": "tcp"}
    initiator = source.find("initiator/iqn")
    if initiator is not None:
        made["initiator-name"] = initiator.get("name", "")
    return made | {"target": target, "lun": int(unit or "0")}


def _rbd(source: ET.Element) -> JsonObject | None:
    pool, _, image = source.get("name", "").partition("/")
    if not image or source.find("snapshot") is not None:
        return None
    made: JsonObject = {"driver": "rbd", "pool": pool, "image": image}
    config = source.find("config")
    if config is not None:
        made["conf"] = config.get("file", "")
    hosts = [host for host in source.findall("host") if host.get("name")]
    servers = [{"host": host.get("name"), "port": host.get("port", "6789")} for host in hosts]
    return {**made, "server": servers} if servers else made


_PROTOCOLS: dict[str, Callable[[ET.Element], JsonObject | None]] = {
    "nbd": _nbd,
    "ssh": _ssh,
    "iscsi": _iscsi,
    "rbd": _rbd,
    **dict.fromkeys(("http", "https", "ftp", "ftps"), _web),
}
