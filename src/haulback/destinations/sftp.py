"""A folder on an SSH server as a destination, over SFTP.

An object is written to a temporary file, synced (`fsync@openssh.com`) and linked to its name
(`hardlink@openssh.com`), which fails if the name exists.  SFTP cannot sync a folder: a power
failure of the server may lose the names of the last seconds, but leaves no half-written object.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Set
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import asyncssh
import msgspec

from haulback.contract.destination_types import SftpSettings
from haulback.destinations import background_loop
from haulback.destinations.bandwidth import RateTable, Throttle
from haulback.destinations.file_comparison import holds
from haulback.destinations.object_names import checked
from haulback.destinations.protocol import IDENTITY, Item
from haulback.destinations.sftp_connection import connection_of, key_of, known_hosts, text_of
from haulback.errors import (
    Conflict,
    Damaged,
    Misconfigured,
    NotFound,
    OutOfSpace,
    Unavailable,
    Unsupported,
)

T = TypeVar("T")
Items = list[Item]
Names = list[tuple[str, asyncssh.SFTPAttrs]]
Parts = list[bytes]
_TEMP, _PROBES = ".tmp", ".probe"
_NEIGHBOURS = 64  # folders that are searched for a repository
_BLOCK = 261_120  # bytes of a request, the most that OpenSSH accepts in a packet of 256 KiB
_PIECE = 16 * _BLOCK  # bytes that are written or read under one time-out
_IN_FLIGHT = 16  # requests of a file at once
_FOLDERS_AT_ONCE = 8  # folders that a listing reads at once
_GONE = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPNotADirectory)


_throttles: dict[tuple[object, ...], Throttle] = {}
_shared = Lock()


def _throttle_of(settings: SftpSettings) -> Throttle:
    key = (settings.host, settings.port, settings.path, settings.bandwidth)
    with _shared:
        return _throttles.setdefault(key, Throttle(RateTable(settings.bandwidth)))


class Sftp:
    """Objects are files below `path` of a server; half-written objects exist only in `.tmp`.

    `path` must exist, because a file system that is not mounted must not look like an empty
    destination. `owner` is the attempt that writes here; its name prefixes the temporary files.
    """

    def __init__(self, settings: SftpSettings, owner: str = "by-hand") -> None:
        self.settings, self.owner = settings, owner
        self._connection, self._throttle = connection_of(settings), _throttle_of(settings)

    def store(self, name: str, data: bytes) -> None:
        checked(name)

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(data), _PIECE):
                yield data[at : at + _PIECE]

        self._run(lambda client: self._create(client, name, pieces()), name)

    def adopt(self, name: str, path: Path) -> None:
        checked(name)

        async def pieces() -> AsyncIterator[bytes]:
            while piece := file.read(_PIECE):  # staged bytes, which usually are in memory
                yield piece

        try:
            with open(path, "rb") as file:
                self._run(lambda client: self._create(client, name, pieces()), name)
        except Conflict:
            if not holds(self, name, path):
                raise
        path.unlink()

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        checked(name)
        data = self._run(lambda client: self._read(client, name, offset, length), name)
        self._throttle.take(len(data))
        return data

    def info(self, name: str) -> Item:
        checked(name)

        async def look(client: asyncssh.SFTPClient) -> Item:
            found = await self._in_time(client.stat(self._path(name)))
            if not _is_file(found):
                raise Damaged(f"{name} is not a regular file", name=name)
            return _item(name, found)

        return self._run(look, name)

    def list(self, prefix: str) -> Iterator[Item]:
        checked(prefix)
        return iter(self._run(lambda client: self._below(client, prefix), prefix))

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        if folder:
            checked(folder)

        async def look(client: asyncssh.SFTPClient) -> list[tuple[str, bool]]:
            names = await self._folder(client, folder)
            return [(name, _is_file(about)) for name, about in names]

        return iter(self._run(look, folder))

    def delete(self, name: str) -> None:
        checked(name)

        async def remove(client: asyncssh.SFTPClient) -> None:
            try:
                await self._in_time(client.remove(self._path(name)))
            except _GONE:
                await self._check_root(client)

        self._run(remove, name)

    def sweep(self, alive: Set[str]) -> int:
        async def remove(client: asyncssh.SFTPClient) -> int:
            swept = 0
            for name, about in await self._folder(client, _TEMP):
                owner, _, part = name.rpartition(".")
                if owner and part and owner not in alive and _is_file(about):
                    await self._in_time(client.remove(self._path(f"{_TEMP}/{name}")))
                    swept += 1
            return swept

        return self._run(remove, _TEMP)

    def local_path(self, name: str) -> Path | None:  # noqa: ARG002 - the Protocol's parameter
        return None

    @property
    def is_single_writer(self) -> bool:
        return self.settings.singleWriter

    @property
    def has_parts(self) -> bool:
        return False

    def scratch(self, token: str) -> Sftp:
        corner = self._path(f"{_PROBES}/{token}")
        self._run(lambda client: self._make_folder(client, corner), _PROBES)
        return Sftp(msgspec.structs.replace(self.settings, path=corner), self.owner)

    def drop(self) -> None:
        """Remove the empty folders of a probe; a folder that stays is harmless."""
        folders = (self._path(_TEMP), self.settings.path, self.settings.path.rpartition("/")[0])

        async def remove(client: asyncssh.SFTPClient) -> None:
            for folder in folders:
                with suppress(asyncssh.SFTPError):
                    await self._in_time(client.rmdir(folder))

        self._run(remove, _PROBES)

    def check_neighbours(self) -> None:
        """Raise Conflict for a folder that lies inside a repository, or that holds a repository in
        a sub-folder.
        """
        path = self.settings.path.rstrip("/")
        parts = path.strip("/").split("/")[:-1]
        above = ["/" + "/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        entries = dict(self.entries(""))
        inner = [name for name, is_file in sorted(entries.items()) if not is_file]
        below = [] if IDENTITY in entries else [f"{path}/{name}" for name in inner[:_NEIGHBOURS]]

        async def look(client: asyncssh.SFTPClient) -> None:
            for folders, relation in ((above, "lies inside"), (below, "holds")):
                for folder in folders:
                    with suppress(asyncssh.SFTPError):
                        if await self._in_time(client.isfile(f"{folder}/{IDENTITY}")):
                            raise Conflict(
                                f"path: {self._where} {relation} the repository in {folder}: name "
                                "another folder"
                            )

        self._run(look, "")

    def clock_ms(self) -> int | None:
        """The modification time of a new file on the server, in whole seconds."""
        name = f"{_PROBES}-{os.urandom(8).hex()}".removeprefix(".")
        self.store(name, b"clock")
        told = self.info(name).stored
        self.delete(name)
        return None if told is None else told + 500

    def links(self) -> bool | None:
        return None if self.settings.singleWriter else True  # every object gets its name by a link

    def may_replace(self, name: str) -> bool:
        async def write(client: asyncssh.SFTPClient) -> bool:
            try:
                file = await self._in_time(client.open(self._path(name), asyncssh.FXF_WRITE))
            except asyncssh.SFTPPermissionDenied:
                return False
            await self._in_time(file.close())
            return True

        return self._run(write, name)

    def may_delete(self, name: str) -> bool:
        try:
            self.delete(name)
        except Misconfigured:
            return False
        return True

    def space(self) -> tuple[int, int]:
        """Bytes of the server's file system: (total, free for this user)."""

        async def look(client: asyncssh.SFTPClient) -> tuple[int, int]:
            found = await self._in_time(client.statvfs(self.settings.path))
            return found.blocks * found.frsize, found.bavail * found.frsize

        return self._run(look, "")

    async def _create(
        self, client: asyncssh.SFTPClient, name: str, pieces: AsyncIterator[bytes]
    ) -> None:
        temp = self._path(f"{_TEMP}/{self.owner}.{os.urandom(12).hex()}")
        try:
            await self._write(client, temp, pieces)
            await self._publish(client, temp, self._path(name), name)
        except asyncssh.SFTPFailure as error:
            await self._remove_quietly(client, temp)
            raise await self._failure(client, error, name) from error
        except (Conflict, Misconfigured, Unsupported, asyncssh.SFTPError):
            await self._remove_quietly(client, temp)
            raise

    async def _write(
        self, client: asyncssh.SFTPClient, temp: str, pieces: AsyncIterator[bytes]
    ) -> None:
        file = await self._opened(client, temp)
        try:
            at = 0
            async for piece in pieces:
                if self.settings.bandwidth:  # the wait must not stop the loop
                    await asyncio.to_thread(self._throttle.take, len(piece))
                await self._in_time(file.write(piece, at))
                at += len(piece)
            await self._in_time(file.fsync())
        finally:
            await self._in_time(file.close())

    async def _opened(self, client: asyncssh.SFTPClient, temp: str) -> asyncssh.SFTPClientFile:
        """The new temporary file, in its folder."""

        def make() -> Awaitable[Any]:
            flags = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_EXCL
            how: Any = {"encoding": None, "block_size": _BLOCK, "max_requests": _IN_FLIGHT}
            return self._in_time(client.open(temp, flags, **how))

        try:
            made: asyncssh.SFTPClientFile = await make()
        except _GONE:
            await self._check_root(client)
            await self._make_folder(client, self._path(_TEMP))
            made = await make()
        return made

    async def _publish(
        self, client: asyncssh.SFTPClient, temp: str, target: str, name: str
    ) -> None:
        try:
            await self._name(client, temp, target, name)
        except _GONE:
            await self._check_root(client)
            await self._make_folder(client, target.rpartition("/")[0])
            await self._name(client, temp, target, name)
        if not self.settings.singleWriter:
            await self._remove_quietly(client, temp)

    async def _name(self, client: asyncssh.SFTPClient, temp: str, target: str, name: str) -> None:
        """Give a temporary file its name.  Raises Conflict for a name that exists."""
        try:
            if self.settings.singleWriter:
                async with self._connection.naming:
                    if await self._in_time(client.lexists(target)):
                        raise Conflict(f"{name} exists already in {self._where}", name=name)
                    await self._in_time(client.rename(temp, target))
            else:
                await self._in_time(client.link(temp, target))
        except (asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists):
            if await self._in_time(client.lexists(target)):
                raise Conflict(f"{name} exists already in {self._where}", name=name) from None
            raise
        except asyncssh.SFTPOpUnsupported as error:
            raise Unsupported(
                f"{self.settings.host} has no hard links (hardlink@openssh.com), so two "
                "writers could replace each other's objects; use OpenSSH's server and a "
                "file system with hard links, or set `singleWriter` if only one node "
                "writes there"
            ) from error

    async def _make_folder(self, client: asyncssh.SFTPClient, folder: str) -> None:
        """Create a folder with its parents below `path`, even if another writer creates it
        meanwhile.
        """
        parts = folder[len(self.settings.path) :].strip("/").split("/")
        for count in range(1, len(parts) + 1):
            path = "/".join((self.settings.path.rstrip("/"), *parts[:count]))
            try:
                await self._in_time(client.mkdir(path))
            except (asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists):
                if not await self._in_time(client.isdir(path)):
                    raise

    async def _read(
        self, client: asyncssh.SFTPClient, name: str, offset: int, length: int | None
    ) -> bytes:
        file: asyncssh.SFTPClientFile = await self._in_time(
            client.open(self._path(name), "rb", block_size=_BLOCK, max_requests=_IN_FLIGHT)
        )
        try:
            about = await self._in_time(file.stat())
            if not _is_file(about):
                raise Damaged(f"{name} is not a regular file", name=name)
            size = about.size or 0
            end = size if length is None else offset + length
            if end > size or offset > size:
                raise Damaged(f"{name} is truncated at byte {size}", name=name)
            parts: Parts = []
            for at in range(offset, end, _PIECE):
                wanted = min(_PIECE, end - at)
                part = bytes(await self._in_time(file.read(wanted, at)))  # type: ignore[arg-type]
                if len(part) != wanted:
                    raise Damaged(f"{name} is truncated at byte {at + len(part)}", name=name)
                parts.append(part)
            return b"".join(parts)
        finally:
            await self._in_time(file.close())

    async def _below(self, client: asyncssh.SFTPClient, prefix: str) -> Items:
        """All files in a folder and its sub-folders; several folders are read at once."""
        result: Items = []
        todo = [prefix]
        while todo:
            now, todo = todo[:_FOLDERS_AT_ONCE], todo[_FOLDERS_AT_ONCE:]
            listed = await asyncio.gather(*(self._folder(client, folder) for folder in now))
            for folder, names in zip(now, listed, strict=True):
                for name, about in names:
                    if _is_file(about):
                        result.append(_item(f"{folder}/{name}", about))
                    elif about.type == asyncssh.FILEXFER_TYPE_DIRECTORY and name[0] != ".":
                        todo.append(f"{folder}/{name}")
        return result

    async def _folder(self, client: asyncssh.SFTPClient, folder: str) -> Names:
        """The entries of a folder; empty if the folder does not exist but `path` does."""
        try:
            found = await self._in_time(client.readdir(self._path(folder)))
        except _GONE:
            await self._check_root(client)
            return []
        return [
            (str(one.filename), one.attrs) for one in found if str(one.filename) not in (".", "..")
        ]

    def _path(self, name: str) -> str:
        return f"{self.settings.path.rstrip('/')}/{name}".rstrip("/") or "/"

    @property
    def _where(self) -> str:
        return f"{self.settings.path} on {self.settings.host}"

    def _run(self, call: Callable[[asyncssh.SFTPClient], Awaitable[T]], name: str) -> T:
        return background_loop.run(self._answered(call, name))

    async def _answered(self, call: Callable[[asyncssh.SFTPClient], Awaitable[T]], name: str) -> T:
        """The result of a call; its errors are translated to those of `haulback.errors`."""
        try:
            async with self._connection.use() as client:
                try:
                    return await call(client)
                except _GONE:
                    await self._check_root(client)
                    raise NotFound(f"{name} is not in {self._where}", name=name) from None
        except asyncssh.SFTPPermissionDenied as error:
            raise Misconfigured(
                f"{self.settings.user} may not use {name or 'the folder'} in {self._where}: "
                "give this user the right to read and write `path` on the server"
            ) from error
        except TimeoutError as error:
            raise Unavailable(
                f"{self.settings.host} did not answer within {self.settings.requestTimeout} s; "
                "check the server, or raise `requestTimeout`"
            ) from error
        except (asyncssh.SFTPError, asyncssh.DisconnectError, OSError) as error:
            raise Unavailable(f"{name} in {self._where}: {text_of(error)}; try again") from error

    async def _in_time(self, request: Awaitable[T]) -> T:
        return await asyncio.wait_for(request, self.settings.requestTimeout)

    async def _check_root(self, client: asyncssh.SFTPClient) -> None:
        """Raises Unavailable if `path` no longer exists, because then no file below it is merely
        missing.
        """
        if not await self._in_time(client.isdir(self.settings.path)):
            raise Unavailable(
                f"path: there is no folder {self._where}; mount or create it on the server"
            )

    async def _failure(self, client: asyncssh.SFTPClient, error: Exception, name: str) -> Exception:
        """The reason of an error that the server reports only as a failure."""
        try:
            space = await self._in_time(client.statvfs(self.settings.path))
            is_full = space.bavail * space.frsize < _PIECE
        except asyncssh.SFTPError:
            is_full = False
        if is_full:
            return OutOfSpace(f"{self._where} is full: free some space on the server")
        return OutOfSpace(
            f"{name} cannot be written to {self._where}: {text_of(error)}. Check the quota of "
            f"{self.settings.user}, and whether the file system is writable and has hard links"
        )

    async def _remove_quietly(self, client: asyncssh.SFTPClient, path: str) -> None:
        """Remove a temporary file; if this fails, a later sweep removes the file."""
        try:
            await self._in_time(client.remove(path))
        except (asyncssh.SFTPError, TimeoutError):
            return


def open_store(settings: SftpSettings, owner: str) -> Sftp:
    """Open a folder on a server; the connection is made at the first use.

    Raises Misconfigured for settings without a key and a password, or with an unreadable key.
    """
    if not settings.key and not settings.password:
        raise Misconfigured("key: name the private key of the user, or a `password`")
    if settings.key:
        key_of(settings)
    known_hosts(settings)
    return Sftp(settings, owner)


def usage(settings: SftpSettings) -> tuple[int, int]:
    """Bytes of the server's file system: (total, free).  Raises Unavailable."""
    return Sftp(settings).space()


def _is_file(about: asyncssh.SFTPAttrs) -> bool:
    if about.permissions is not None:
        return stat.S_ISREG(about.permissions)
    return about.type == asyncssh.FILEXFER_TYPE_REGULAR


def _item(name: str, about: asyncssh.SFTPAttrs) -> Item:
    """An object with the time of its last write, shortly before the object got its name."""
    return Item(name, about.size or 0, None if about.mtime is None else int(about.mtime) * 1000)
