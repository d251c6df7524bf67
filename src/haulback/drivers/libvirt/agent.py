"""QEMU guest agent: scripts run in a guest, and files written into it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable
from contextlib import suppress

from haulback.drivers.libvirt.connection import Domain
from haulback.errors import HaulbackError, Malformed, Unavailable
from haulback.units import KIB
from haulback.wire import JsonObject

_PIECE = 48 * KIB  # bytes of a file write; agents hang on larger ones (256 KiB did)
_SAID = 64 * KIB  # bytes of a script's output that are kept
# Other programs than GNU tar and bsdtar would unpack the map of a sparse file as its contents.
_UNPACK = r"""
case "$(tar --version 2>&1)" in
*"GNU tar"*)
  if tar --help | grep -q -e --xattrs; then
    exec tar --xattrs "--xattrs-include=*" --acls -xpf "$1" -C "$2"
  fi ;;
*bsdtar*) ;;
*)
  if grep -q "GNU\.sparse\.realsize=" "$1"; then
    echo "the guest's tar knows no sparse files; install GNU tar there, or leave them out"
    exit 1
  fi ;;
esac
exec tar -xpf "$1" -C "$2"
"""
_UNPACK_SECONDS = 3600  # time for a slow guest to unpack its files
# Remove this attempt's tar, and tars older than a day that dead attempts left.
_CLEAN = 'rm -f "$1"; find "$2" -maxdepth 1 -name ".haulback-*.tar" -mtime +0 -exec rm -f {} +'


class Agent:
    """The agent of a running machine; a call raises Unavailable if the agent does not respond."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain

    def answers(self) -> bool:
        """Whether the agent responds."""
        with suppress(HaulbackError):
            self._execute("guest-ping", seconds=2)
            return True
        return False

    def run(self, script: str, seconds: int, *words: str) -> tuple[int, str]:
        """Run a shell script with arguments; returns exit code and output.

        Raises Unavailable when the script takes longer than `seconds`.
        """
        shell = {"path": "/bin/sh", "arg": ["-c", script, "sh", *words], "capture-output": True}
        begun = self._execute("guest-exec", shell)
        if not isinstance(process := begun.get("pid"), int):
            raise _nonsense()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status = self._execute("guest-exec-status", {"pid": process})
            if status.get("exited"):
                return _ended(status)
            time.sleep(0.1)
        raise Unavailable(f"the script did not end within {seconds} s")

    def unpack(self, parts: Iterable[bytes], folder: str, name: str) -> None:
        """Unpack a tar in a folder of the guest; the folder is created if needed.

        The folder holds the tar as `name` until it is unpacked; a file of that name is overwritten.
        Raises Malformed with the guest's message when unpacking fails.
        """
        place = f"{folder.rstrip('/')}/{name}"
        self._must('mkdir -p "$1"', 60, folder)
        try:
            self._write(place, parts)
            self._must(_UNPACK, _UNPACK_SECONDS, place, folder)
        finally:
            with suppress(HaulbackError):
                self.run(_CLEAN, 60, place, folder)

    def _write(self, place: str, parts: Iterable[bytes]) -> None:
        # The agent creates files that all users may read and write, but keeps the mode of an
        # existing file: so the file is created first, with mode 0600.
        self._must('umask 077; rm -f "$1"; set -C; : > "$1"', 60, place)
        handle = self._execute_any("guest-file-open", {"path": place, "mode": "w"})
        try:
            for part in parts:
                for low in range(0, len(part), _PIECE):
                    self._put(handle, part[low : low + _PIECE])
        finally:
            self._execute_any("guest-file-close", {"handle": handle})

    def _put(self, handle: object, piece: bytes) -> None:
        """Write a piece completely. Raises Unavailable for a short write, as on a full disk."""
        text = base64.b64encode(piece).decode()
        done = self._execute("guest-file-write", {"handle": handle, "buf-b64": text})
        if done.get("count") != len(piece):
            raise Unavailable("the guest wrote only a part of the tar; is its disk full?")

    def _must(self, script: str, seconds: int, *words: str) -> None:
        code, said = self.run(script, seconds, *words)
        if code:
            raise Malformed(
                f"the command in the guest failed: {said.strip()[-500:] or f'exit code {code}'}"
            )

    def _execute(
        self, command: str, arguments: JsonObject | None = None, seconds: int = 10
    ) -> JsonObject:
        found = self._execute_any(command, arguments, seconds)
        if not isinstance(found, dict):
            raise _nonsense()
        return found

    def _execute_any(
        self, command: str, arguments: JsonObject | None = None, seconds: int = 10
    ) -> object:
        asked = {"execute": command, **({"arguments": arguments} if arguments else {})}
        try:
            return json.loads(self._domain.ask_agent(json.dumps(asked), seconds))["return"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise _nonsense() from None


def _ended(status: JsonObject) -> tuple[int, str]:
    """Exit code and output in the guest's status of an ended process.

    Raises Unavailable for a malformed status.
    """
    try:
        said = b"".join(base64.b64decode(status.get(name, "")) for name in ("out-data", "err-data"))
        code = int(status.get("exitcode", -1))
    except (ValueError, TypeError, OverflowError):
        raise _nonsense() from None
    if code.bit_length() > 32:  # no system uses such exit codes
        raise _nonsense()
    return code, said[:_SAID].decode(errors="replace").replace("\0", "")


def _nonsense() -> Unavailable:
    return Unavailable("the guest agent sent a malformed response")
