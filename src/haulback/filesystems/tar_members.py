"""Headers of tar members: POSIX pax, with the extensions of GNU tar and star."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from haulback.filesystems.records import FileEntry, FileFacts, raw

_MOST_SIZE, _MOST_ID = (1 << 33) - 1, (1 << 21) - 1  # octal fields of 12 and 8 bytes
# Bytes of a name in a header: a field of 100 bytes, of which a folder needs one for a slash.
_NAME = 99
_SELINUX = b"security.selinux"
_SPARSE = "GNUSparseFile.0"  # folder of members whose real name is in a pax record


class TarMember(NamedTuple):
    """A member: its entry, its name, its type in tarfile, and the bytes of its contents.

    `link` is the target of a symbolic or hard link; `records` are further pax records.
    """

    entry: FileEntry
    name: str
    kind: bytes
    size: int = 0
    link: str = ""
    records: tuple[tuple[bytes, bytes], ...] = ()

    def header(self) -> bytes:
        """Blocks of the header."""
        name = f"{self.name}/" if self.kind == tarfile.DIRTYPE else self.name
        return _header(self, raw(name), raw(self.link))

    def sparse(self, number: int, size: int) -> bytes:
        """Blocks of the header of a sparse file of `size` bytes.

        Readers that do not support sparse files find the member under the name of its `number`.
        """
        real = (
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", raw(self.name)),
            (b"GNU.sparse.realsize", b"%d" % size),
        )
        member = self._replace(records=(*real, *self.records))
        return _header(member, f"{_SPARSE}/{number}".encode(), b"")


def attribute_records(facts: FileFacts) -> Iterator[tuple[bytes, bytes]]:
    """Pax records of extended attributes and access control lists, as GNU tar writes them."""
    for name, value in facts.attributes:
        shown = name.replace(b"%", b"%25").replace(b"=", b"%3D")
        yield b"SCHILY.xattr." + shown, value
        if name == _SELINUX:
            yield b"RHT.security.selinux", value
    for key, text in ((b"access", facts.access), (b"default", facts.default)):
        if text:
            yield b"SCHILY.acl." + key, text.encode()


def _header(member: TarMember, name: bytes, link: bytes) -> bytes:
    entry = member.entry
    info = tarfile.TarInfo(_short(name))
    info.type, info.mode, info.linkname = member.kind, entry.mode & 0o7777, _short(link)
    info.uid, info.gid = (id_ if id_ <= _MOST_ID else 0 for id_ in (entry.uid, entry.gid))
    info.size = member.size if member.size <= _MOST_SIZE else 0
    seconds, rest = divmod(entry.modified, 1000)
    info.mtime = seconds if 0 <= seconds <= _MOST_SIZE else 0
    info.devmajor, info.devminor = (min(part, _MOST_ID) for part in entry.device)
    records = [*member.records]
    for key, value, shown in ((b"path", name, info.name), (b"linkpath", link, info.linkname)):
        if value != shown.encode():
            records.append((key, value))
    for key, number, told in ((b"uid", entry.uid, info.uid), (b"gid", entry.gid, info.gid),
                              (b"size", member.size, info.size)):  # fmt: skip
        if number != told:
            records.append((key, b"%d" % number))
    if rest or entry.fine or seconds != info.mtime:
        records.append((b"mtime", _decimal(entry.modified * 1_000_000 + entry.fine)))
    if not all(map(_is_text, (name, link))):
        records.insert(0, (b"hdrcharset", b"BINARY"))
    return _extended(records) + info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def _short(name: bytes) -> str:
    """A name that fits into a header; other names are in a pax record."""
    return name.decode("ascii", "replace").replace("\ufffd", "_")[:_NAME]


def _decimal(moment: int) -> bytes:
    """Seconds of a moment in nanoseconds."""
    sign, moment = ("-", -moment) if moment < 0 else ("", moment)
    return f"{sign}{moment // 10**9}.{moment % 10**9:09}".rstrip("0").rstrip(".").encode()


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _extended(records: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Blocks of a pax extended header; nothing without records."""
    body = b"".join(_record(key, value) for key, value in records)
    if not body:
        return b""
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, len(body)
    return info.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % tarfile.BLOCKSIZE)


def _record(key: bytes, value: bytes) -> bytes:
    """A record `LENGTH KEY=VALUE` with a newline; the length counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)
