"""The server's own database as a hypervisor with one disk, whose sealed bytes the server sends."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import IO

import msgspec

from haulback import errors
from haulback.drivers.hypervisor import DiskView, Inventory, Machine, MachineDisk
from haulback.drivers.source import RawImage
from haulback.durable_files import translate
from haulback.errors import NotFound, OutOfSpace, Unavailable
from haulback.hypervisor_types import OWN_SERVER
from haulback.inventory.own_server import FILE, FORMAT, NAME
from haulback.node.state_dir import RESERVE

_LINE = 4096  # maximum length of the line before the bytes, in characters
_FRESH = "the server always sends its whole database"


class _Announcement(msgspec.Struct):
    """The line before the bytes: the size of the copy, or the error of the server."""

    size: int = 0
    code: str = ""
    message: str = ""


class OwnServer:
    """Driver of the server's own database; `request_copy` requests a copy, `folder` takes it."""

    declaration = OWN_SERVER

    def __init__(self, request_copy: Callable[[], Iterator[bytes]], folder: Path) -> None:
        self._request_copy, self._folder = request_copy, folder

    def check(self) -> None:
        """The node's session proves that the server answers."""

    def inventory(self) -> Inventory:
        """No machines, because the server records its entity itself."""
        return Inventory([], [])

    def machine(self, uuid: str) -> Machine:
        raise NotFound("only the server can read its database", uuid=uuid)

    def snapshot(self, uuid: str, attempt: str, base: str | None = None) -> ServerCopy:  # noqa: ARG002
        path = self._folder / FILE
        try:
            with open(path, "xb") as file:
                _receive(self._request_copy(), file)
            return ServerCopy(uuid, path)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise translate(error, path) from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def drop_checkpoints(self, uuid: str, keep: Set[str]) -> list[str]:  # noqa: ARG002
        return []

    def sweep(self, alive: Set[str]) -> list[str]:  # noqa: ARG002
        return []

    def close(self) -> None:
        """Do nothing, because no connection stays open between two calls."""


class ServerCopy:
    """A sealed copy in a file, which `close` removes."""

    checkpoint = None
    consistency = "APPLICATION"

    def __init__(self, uuid: str, path: Path) -> None:
        self._path, self._image, self._is_open = path, RawImage(path), True
        self._disk = MachineDisk(FILE, self._image.size, FORMAT)
        definition = {"type": OWN_SERVER.driver, "file": FILE}
        self.machine = Machine(uuid, NAME, (self._disk,), definition)

    def views(self) -> list[DiskView]:
        return [DiskView(self._disk, self._image, None, _FRESH)]

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._image.close()
            self._path.unlink()

    def __enter__(self) -> ServerCopy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _receive(pieces: Iterator[bytes], file: IO[bytes]) -> None:
    """Write the copy of an answer to a file.

    Raises the error that the server names, OutOfSpace, or Unavailable for a copy that ends early.
    """
    said, rest = _announced(pieces)
    if said.code:
        raise errors.received(errors.by_code(), said.code, said.message, {})
    free = shutil.disk_usage(Path(file.name).parent).free
    if free < said.size + RESERVE:
        raise OutOfSpace(
            f"the copy of the server's database needs {said.size} bytes of staging, but "
            f"only {free} are free; free some space"
        )
    count = file.write(rest)
    for piece in pieces:
        count += file.write(piece)
    if count != said.size:
        raise Unavailable(f"the server sent {count} of {said.size} bytes of its database")


def _announced(pieces: Iterator[bytes]) -> tuple[_Announcement, bytes]:
    """The line before the bytes, and the first bytes after it."""
    held = b""
    for piece in pieces:
        held = (held + piece).lstrip(b"\n")
        line, end, rest = held.partition(b"\n")
        if end:
            try:
                return msgspec.json.decode(line, type=_Announcement), rest
            except msgspec.DecodeError:
                break
        if len(held) > _LINE:
            break
    raise Unavailable(
        "the server sent only a part of its database: the connection was closed early"
    )
