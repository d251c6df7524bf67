"""`haulback mount`: mounted backups, their contents, and downloads of their files."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from itertools import chain
from os import SEEK_CUR
from pathlib import Path
from shlex import quote
from typing import Annotated, BinaryIO

import msgspec
from cyclopts import App, Parameter

from haulback.cli.arguments import BackupWord, FileSystemWord, MachineOption, MountWord
from haulback.cli.confirmation import ASK, Consent
from haulback.cli.connection import connect
from haulback.cli.output import Output, dump, moment, named, show, size, text, when
from haulback.cli.questions import agreed
from haulback.cli.submit_options import USUAL, SubmitOptions, ref, report
from haulback.client.calls import ListFilters
from haulback.client.resources import Mounts
from haulback.contract.mount import RemountRequest
from haulback.contract.mounts import FileRow, MountedBackup, MountMode
from haulback.contract.unmount import UnmountRequest
from haulback.contract.upload import UploadRequest
from haulback.errors import Conflict, Incomplete, Malformed, NotFound
from haulback.wire import JsonObject, Ref

app = App(name="mount")
_To = Annotated[
    str,
    Parameter(allow_leading_hyphen=True, help="File to write; - is standard output."),
]
_MOUNTS = (
    text("guid"),
    named("protectedEntity"),
    named("mode"),
    named("state"),
    named("node"),
    moment("mountTime"),
    moment("unmountTime"),
)
_SYSTEMS = (
    text("guid"),
    text("volume"),
    text("type"),
    text("label"),
    size("size"),
    text("mountPath"),
    text("features"),
    text("reason"),
)
_ROWS = (
    named("fileType"),
    size("size"),
    moment("modified"),
    text("name"),
    text("target"),
    ("contents", lambda row: _contents(row)),
)


@app.command(name="ls")
def list_mounts(
    *,
    all: Annotated[bool, Parameter(help="List ended mounts as well.")] = False,  # noqa: A002
    output: Output = "table",
) -> None:
    """List mounted backups; --all also lists ended mounts."""
    query: ListFilters = {} if all else {"finished_mount": False}
    show(list(connect().mounts.all(**query)), _MOUNTS, output)


@app.command(name="show")
def show_mount(mounted: MountWord) -> None:
    """Show all details of a mounted backup."""
    dump(connect().mounts.find(mounted))


@app.command
def disks(mounted: MountWord, *, output: Output = "table") -> None:
    """List the disks of a mounted backup."""
    mounts = connect().mounts
    guid = _present(mounts, mounted)
    show(mounts.disks(guid), (text("path"), size("size")), output)


@app.command(name="iscsi")
def show_target(mounted: MountWord) -> None:
    """Show the iSCSI target of a mount in mode ISCSI, with the CHAP secret."""
    mounts = connect().mounts
    dump(mounts.iscsi(mounts.guid(mounted)))


@app.command
def volumes(mounted: MountWord, *, output: Output = "table") -> None:
    """List the file systems of a mounted backup."""
    mounts = connect().mounts
    rows = [
        {**msgspec.to_builtins(one.fileSystem), "guid": one.guid, "mountPath": one.mountPath}
        for one in mounts.file_systems(_present(mounts, mounted))
    ]
    show(rows, _SYSTEMS, output)


def _present(mounts: Mounts, wanted: str) -> str:
    """The guid of a mount whose backup is mounted now.

    Raises Conflict with the reason and the remedy for any other mount.
    """
    mount = mounts.find(wanted)
    about = f"the backup of {mount.name} (mount {mount.guid})"
    if mount.state.name == "QUEUED":
        listed = f"haulback task ls --machine {quote(mount.name)}"
        raise Conflict(f"{about} is not mounted yet; {listed} shows the task that mounts it")
    if mount.state.name != "MOUNTED":
        how = "failed" if mount.state.name == "FAILED" else "ended"
        end = f" at {when(mount.unmountTime)}" if mount.unmountTime else ""
        raise Conflict(f"{about} is not mounted: the mount {how}{end}; {_again(mount)}")
    return mount.guid


def _again(mount: MountedBackup) -> str:
    """The command that mounts the backup of an ended mount again."""
    if mount.mode.name == MountMode.INSTANT_RESTORE.value:
        return f"to run its machine again: haulback restore instant {mount.backup['guid']}"
    return f"to mount it again: haulback mount again {mount.guid}"


@app.command
def found(backup: BackupWord, *, output: Output = "table") -> None:
    """List the file systems of BACKUP, mounted or not."""
    client = connect()
    found = client.mounts.file_systems_of(client.backups.guid(backup))
    show(found, _SYSTEMS, output)


@app.command(name="dir")
def list_folder(
    file_system: FileSystemWord,
    path: Annotated[str, Parameter(help="Folder in the file system.")] = "/",
    *,
    output: Output = "table",
) -> None:
    """List a folder of a mounted file system, by guid or volume.

    A listing opens no files, so that most are "not tried"; `mount details` opens a file.
    """
    rows: list[FileRow] = []
    try:
        mounts = connect().mounts
        rows.extend(mounts.listing(mounts.file_system(file_system), path))
    finally:  # a damaged folder still shows its readable rows
        if rows:
            show(rows, _ROWS, output)


@app.command(name="details")
def show_details(
    file_system: FileSystemWord,
    path: Annotated[str, Parameter(help="File or folder in the file system.")],
) -> None:
    """Open a file or folder of a mounted file system, read it, and show its details.

    Exits with 3 if it cannot be read.
    """
    mounts = connect().mounts
    entry = mounts.details(mounts.file_system(file_system), path)
    dump(entry)
    if entry.readable is False:
        raise Incomplete(
            f"{path} cannot be read: {entry.reason}",
            count=1,
            files=[{"path": path, "reason": entry.reason or ""}],
        )


def _contents(row: JsonObject) -> str:
    """Whether a row can be read, in words."""
    state = (row.get("contents") or {}).get("name", "NOT_TRIED").lower().replace("_", " ")
    return f"{state}: {row['reason']}" if row.get("reason") else state


@app.command
def get(
    file_system: FileSystemWord,
    *path: Annotated[str, Parameter(help="Files or folders in the file system.")],
    to: _To = "",
    archive: Annotated[bool, Parameter(help="Write a tar for a single file, too.")] = False,
) -> None:
    """Download files of a mounted file system: one file unchanged, several or a folder as
    a tar.

    --to is the file to write; - is standard output; the default is the file's own name.  Unreadable
    files of a tar are listed on standard error, and the command exits with 3.
    """
    if not path:
        raise Malformed("name at least one path")
    headers: dict[str, str] = {}
    mounts = connect().mounts
    system = mounts.file_system(file_system)
    parts = mounts.download(system, path, archive=archive, on_headers=headers.update)
    first = next(parts, b"")
    if to == "-":
        _copy(chain([first], parts), sys.stdout.buffer)
        return
    name = path[0].rstrip("/").rpartition("/")[2] or "files"
    is_tar = headers.get("content-type") == "application/x-tar"
    target = Path(to or (f"{name}.tar" if is_tar else name))
    if target.exists():
        raise Conflict(f"{target} exists already; name another file by --to")
    if not target.parent.is_dir():
        raise NotFound(f"--to: there is no folder {target.parent}; create it, or name another file")
    try:
        _write(target, chain([first], parts))
    finally:
        if target.exists():
            print(target)


def _write(target: Path, parts: Iterable[bytes]) -> None:
    """Write a complete file, or leave none.  Raises Incomplete after the end of a tar."""
    half = target.with_name(f".{target.name}.part")
    try:
        with half.open("wb") as file:
            try:
                _copy(parts, file, sparse=True)
                file.truncate()
            except Incomplete:
                file.truncate()
                file.close()
                half.rename(target)
                raise
        half.rename(target)
    finally:
        half.unlink(missing_ok=True)


def _copy(parts: Iterable[bytes], file: BinaryIO, *, sparse: bool = False) -> None:
    """Write all parts, and list the unreadable files of a tar on standard error.

    `sparse`: parts that hold only zeros become holes; the caller sets the size at the end.
    """
    try:
        for part in parts:
            if sparse and not part.strip(b"\0"):
                file.seek(len(part), SEEK_CUR)
            else:
                file.write(part)
    except Incomplete as error:
        file.flush()
        files = error.details["files"]
        for file_ in files:
            print(f"{file_['path']}: {file_['reason']}", file=sys.stderr)
        if error.details["count"] > len(files):
            print(f"... and {error.details['count'] - len(files)} more", file=sys.stderr)
        raise


@app.command
def again(mounted: MountWord, *, how: SubmitOptions = USUAL) -> None:
    """Mount an unmounted backup again."""
    client = connect()
    request = RemountRequest(mountedBackup=Ref(client.mounts.ended(mounted)), **how.times)
    report(client, [client.tasks.mount(request, **how.options)], how)


@app.command
def unmount(mounted: MountWord, *, how: SubmitOptions = USUAL, consent: Consent = ASK) -> None:
    """Unmount a backup; asks if a machine runs from the mount or an initiator wrote to it."""
    client = connect()
    request = UnmountRequest(mountedBackup=Ref(client.mounts.guid(mounted)), **how.times)
    act = partial(client.tasks.unmount, request, **how.options)
    if agreed(client, consent, act):
        report(client, [act()], how)


@app.command
def upload(
    mounted: MountWord,
    *path: Annotated[str, Parameter(help="Files or folders of the backup.")],
    to: Annotated[
        str, Parameter(help="Folder in the guest; / writes to the original places.")
    ] = "",
    file_system: Annotated[
        str,
        Parameter(
            help="File system of the mount, if it has several: guid, its beginning, or volume."
        ),
    ] = "",
    machine: MachineOption = "",
    how: SubmitOptions = USUAL,
) -> None:
    """Upload files of a mounted backup to a running machine through its guest agent.

    --to is the folder for the files, which keep their paths (/: the original paths); --file-system
    is needed when several are mounted; --machine selects a machine other than the backup's
    own.
    """
    client = connect()
    request = UploadRequest(
        mountedBackup=Ref(client.mounts.guid(mounted)),
        paths=list(path),
        destinationPath=to or None,
        mountedFileSystem=ref(file_system and client.mounts.file_system(file_system)),
        protectedEntity=ref(client.machines.find(machine).guid if machine else ""),
        **how.times,
    )
    report(client, [client.tasks.upload(request, **how.options)], how)
