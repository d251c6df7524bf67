"""Mounted backups, their file systems and files."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TypeVar
from urllib.parse import quote

import msgspec

from haulback.contract.iscsi import USER, name_of, secret_of
from haulback.contract.mount import files_of
from haulback.contract.mounts import (
    BackupFileSystem,
    FileDetails,
    FileRow,
    IscsiTarget,
    Lun,
    MountedBackup,
    MountedFile,
    MountedFileSystem,
    MountMode,
    PathRequest,
    PathsRequest,
)
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import PEOPLE, RESTORERS
from haulback.contract.store import BackupVolume
from haulback.errors import Malformed, NotFound, Unavailable
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.derived_guids import file_guid, volume_guid
from haulback.inventory.own_server import type_of
from haulback.inventory.records import Mount, ShownFileSystem
from haulback.server.http import paging, query_params
from haulback.server.http.content_disposition import attachment
from haulback.server.http.operation import (
    FLAG,
    GUID,
    NUMBER,
    TEXT,
    ApiRequest,
    Param,
    Reply,
    Router,
)
from haulback.server.services import backups, mounts
from haulback.server.services.mounts import MountReading
from haulback.wire import JsonObject, Named, label

_Answer = TypeVar("_Answer")
_PAGE = 1000  # rows of a page, unless the request asks for more
_RIGHTS = [f"{who}_{what}" for who in ("OWNER", "GROUP", "OTHERS")
           for what in ("READ", "WRITE", "EXECUTE")]  # fmt: skip
router = Router()


@router(
    "GET",
    "/mounted-backups",
    "Mounted backups.",
    answer=MountedBackup,
    many=True,
    query=(
        *paging.COMMON,
        *paging.SPAN,
        paging.ENTITY,
        Param("backup", "Of this backup.", GUID),
        Param("node", "On this node.", GUID),
        Param("mode", "Mounted in this mode.", {"enum": [mode.value for mode in MountMode]}),
        Param("finished-mount", "true: only mounts that have ended; false: only the others.", FLAG),
        Param("protected-entity-type", "Of this type.", TEXT),
    ),
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="mount ls --all",
)
def list_mounts(call: ApiRequest) -> Reply:
    """A page of mounted backups, the newest first."""
    wanted = paging.wanted(
        call,
        backup=query_params.guid(call, "backup"),
        node=query_params.guid(call, "node"),
        types=query_params.names(call, "mode", {mode.value for mode in MountMode}),
    )
    over = query_params.flag(call, "finished-mount")
    with MountReading.of(call.app) as reading:
        result, total = reading.page(wanted, over)
        counts, known = reading.volume_counts([mount.guid for mount in result]), reading.catalogue
        return paging.page(result, total, lambda mount: _mounted(mount, counts, known))


@router(
    "GET",
    "/mounted-backups/{guid}",
    "A mounted backup.",
    answer=MountedBackup,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="mount show MOUNT",
)
def one_mount(call: ApiRequest) -> MountedBackup:
    """A mounted backup by its guid."""
    with MountReading.of(call.app, call.who.scope) as reading:
        mount = reading.catalogue.mounts.get(call.guid)
        return _mounted(mount, reading.volume_counts([mount.guid]), reading.catalogue)


@router(
    "GET",
    "/file-systems",
    "File systems of a backup.",
    answer=BackupFileSystem,
    many=True,
    query=(Param("backup", "The backup or mount of the file systems.", GUID),),
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="mount found BACKUP",
)
def file_systems(call: ApiRequest) -> list[BackupFileSystem]:
    """File systems that a MANUAL mount of a backup may choose; the STORE task found them."""
    guid = query_params.guid(call, "backup")
    if guid is None:
        raise Malformed("backup: send the guid of a backup", field="backup")
    one = backups.backup(call.app, guid, call.who.scope)
    volumes = msgspec.convert(one.volumes, list[BackupVolume])
    return [_file_system(volume_guid(one.guid, volume.name), volume) for volume in volumes]


@router(
    "GET",
    "/mounted-file-systems/detailed",
    "File systems of a mounted backup.",
    answer=MountedFileSystem,
    many=True,
    query=(Param("mounted-backup", "The backup or mount of the file systems.", GUID),),
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="mount volumes MOUNT",
)
def mounted_file_systems(call: ApiRequest) -> list[MountedFileSystem]:
    """The file systems of a mounted backup."""
    one = _named(call)
    with MountReading.of(call.app) as reading:
        return [_shown(shown, one) for shown in reading.volumes(one.guid)]


@router(
    "GET",
    "/mounted-files",
    "Disks of a mounted backup.",
    answer=MountedFile,
    many=True,
    query=(Param("mounted-backup", "The backup or mount of the file systems.", GUID),),
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="mount disks MOUNT",
)
def mounted_files(call: ApiRequest) -> list[MountedFile]:
    """The disks that a mounted backup offers."""
    item = _named(call)
    disks = _offered(item)
    raw = item.found.get("raw") or ""
    files = files_of(_chosen(item)) if raw else {}
    return [
        MountedFile(
            guid=file_guid(item.backup, name),
            path=f"{raw}/{files[name]}" if name in files else name,
            size=size,
            randomAccess=True,
        )
        for name, size in disks.items()
    ]


def _offered(one: Mount) -> dict[str, int]:
    """Bytes of the disks of a mounted backup by name: the chosen disks, or all."""
    disks: dict[str, int] = one.found.get("disks", {}) if one.state == "MOUNTED" else {}
    chosen = _chosen(one)
    return {name: size for name, size in disks.items() if not chosen or name in chosen}


def _chosen(one: Mount) -> list[str]:
    """The disks that the request for a mount chose; an empty set means all disks."""
    if one.mode == MountMode.ISCSI.value:
        return list(one.wanted.get("disks", []))
    return next((v["disks"] for v in one.wanted.get("visible", []) if v.get("disks")), [])


@router(
    "GET",
    "/mounted-backups/{guid}/iscsi",
    "iSCSI target of a mounted backup, with the secret.",
    answer=IscsiTarget,
    roles=RESTORERS,
    projects=ProjectAccess.OBJECTS,
    command="mount iscsi ISCSI",
)
def iscsi(call: ApiRequest) -> Reply:
    """The target of a backup mounted in mode ISCSI; an audit entry records the caller."""
    item, key = mounts.iscsi_key(call.app, call.who, call.guid)
    sizes: dict[str, int] = item.found["disks"]
    told = IscsiTarget(
        target=name_of(item.guid),
        portal=item.found["portal"],
        user=USER,
        secret=secret_of(key, item.guid),
        allowedClients=item.wanted["clients"],
        disks=[
            Lun(lun, name, sizes.get(name, 0)) for lun, name in enumerate(item.wanted["disks"], 1)
        ],
    )
    return Reply(told, headers={"Cache-Control": "no-store"})


@router(
    "POST",
    "/mounted-file-systems/{guid}/listing",
    "Entries of a folder.",
    request=PathRequest,
    answer=FileRow,
    many=True,
    slow=True,
    query=(
        Param("after", "Only names after this name.", TEXT),
        Param("size", "Largest number of entries.", NUMBER),
    ),
    roles=RESTORERS,
    projects=ProjectAccess.OBJECTS,
    examples=[{"path": "/"}],
    command="mount dir FILESYSTEM /",
)
def listing(call: ApiRequest) -> Reply:
    """Rows by name; if there is a next page, `X-Next-Name` is its value of `after`.

    `contents` of a row are READABLE, NOT_READABLE with a `reason`, or NOT_TRIED: only details and
    downloads open a file.  `X-Incomplete` is the reason why a damaged folder lists only a part of
    its entries.
    """
    after = query_params.one(call, "after") or ""
    most = max(1, query_params.number(call, "size", 10_000) or _PAGE)
    decoded = _asked(call, {"type": "listing", "after": after, "most": most}, _Listing)
    rows = [_row(entry) for entry in decoded.entries]
    more = {"X-Next-Name": quote(decoded.next or rows[-1].name)} if decoded.more and rows else {}
    if decoded.reason:
        more["X-Incomplete"] = quote(decoded.reason[:1000])
    return Reply(rows, headers=more)


@router(
    "POST",
    "/mounted-file-systems/{guid}/details",
    "Details of a file or folder, which is opened.",
    request=PathRequest,
    answer=FileDetails,
    slow=True,
    roles=RESTORERS,
    projects=ProjectAccess.OBJECTS,
    examples=[{"path": "/"}],
    command="mount details FILESYSTEM /etc/hosts",
)
def details(call: ApiRequest) -> FileDetails:
    """The row of a path after its contents were read to the end, or for 30 s; links are not
    followed.

    The answer is definite: the contents can be read, or the reason names a damaged part of the
    repository or of the file system, encryption, or an unsupported format.
    """
    return _details(_asked(call, {"type": "details"}, _Details))


@router(
    "POST",
    "/mounted-file-systems/{guid}/download",
    "Fetch files.",
    request=PathsRequest,
    slow=True,
    roles=RESTORERS,
    projects=ProjectAccess.OBJECTS,
    examples=[{"paths": ["/a"]}],
    command="mount get FILESYSTEM /etc/hosts --archive --to FILE",
)
def download(call: ApiRequest) -> Reply:
    """A single file unchanged; several files or a folder as a tar.

    An unreadable file does not end the tar.  The last member of the tar is then
    HAULBACK-UNREADABLE-FILES.txt, with the path, a tab and the reason for each such file.  A partly
    damaged file holds zeros from the byte that its reason names.  If the connection breaks, the tar
    is always incomplete.
    """
    wanted: PathsRequest = call.read(PathsRequest)
    if not wanted.paths or len(wanted.paths) > 10_000:
        raise Malformed("paths: name at least one path", field="paths")
    mount, shown = mounts.open_volume(call.app, call.who.scope, call.guid)
    archive = wanted.archive or len(wanted.paths) > 1 or _is_folder(call, mount, shown, wanted)
    asked = {
        "type": "download",
        "mount": mount.guid,
        "volume": shown.volume.name,
        "paths": wanted.paths,
        "archive": archive,
    }
    parts = call.app.node_requests.request(mount.node, asked)
    first = next(parts)  # an unreadable path is reported before the first byte
    mounts.record_download(call.app, call.who, mount, shown.volume.name, wanted.paths)
    last = wanted.paths[0].rstrip("/").rpartition("/")[2] or mount.entity_name
    name = f"{last}.tar" if archive else last
    headers = {
        "Content-Disposition": attachment(name),
        "Content-Type": "application/x-tar" if archive else "application/octet-stream",
        "X-Content-Type-Options": "nosniff",
    }
    return Reply(headers=headers, stream=_closing(first, parts))


def _is_folder(
    call: ApiRequest, mount: Mount, shown: ShownFileSystem, wanted: PathsRequest
) -> bool:
    """Whether the request has one path and that is a folder, whose tar holds relative names."""
    path = wanted.paths[0]
    asked = {"type": "look", "mount": mount.guid, "volume": shown.volume.name, "path": path}
    return b"".join(call.app.node_requests.request(mount.node, asked)) == b"DIRECTORY"


def _closing(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    """Tell the node when the client disconnects."""
    try:
        yield from chain([first], rest)
    finally:
        close = getattr(rest, "close", None)
        if close:
            close()


class _Entry(msgspec.Struct):
    """The name of an entry as the node reports it."""

    name: str
    type: str
    size: int
    modified: int
    mode: int
    uid: int
    gid: int
    target: str | None = None
    reason: str = ""
    contents: str = ""  # empty from a node of an older version


class _Details(_Entry):
    """An entry that the node has opened."""

    read: int = 0
    stored: int = 0
    node: str = "0"
    links: int = 1
    attributes: list[str] = []
    access: str = ""
    default: str = ""
    features: list[str] = []
    missing: str = ""


class _Listing(msgspec.Struct):
    """A page of a folder; `next` is the value of `after` for the following page."""

    entries: list[_Entry]
    more: bool
    next: str = ""
    reason: str = ""


def _named(call: ApiRequest) -> Mount:
    guid = query_params.guid(call, "mounted-backup")
    if guid is None:
        raise Malformed("mounted-backup: send the guid of a mount", field="mounted-backup")
    with MountReading.of(call.app, call.who.scope) as reading:
        return reading.catalogue.mounts.get(guid)


def _mounted(item: Mount, counts: dict[str, int], known: Catalogue) -> MountedBackup:
    shows = item.state == "MOUNTED"
    backup: JsonObject = {"guid": item.backup, "name": item.entity_name, "size": item.size}
    backup["protectedEntity"] = {"guid": item.entity, "name": item.entity_name}
    backup |= {"snapshotTime": item.snapshot_time, "iscsiMountable": True}
    return MountedBackup(
        guid=item.guid,
        name=item.entity_name,
        backup=backup,
        protectedEntity=Named(item.entity, item.entity_name, label(type_of(item.entity))),
        mode=label(item.mode),
        state=label(item.state),
        node=_node(item, known),
        mountedFileSystemCount=counts.get(item.guid, 0) if shows else 0,
        mountedFileCount=len(_offered(item)),
        creationTime=item.created,
        mountTime=item.mounted,
        unmountTime=item.unmount_at,
        hypervisor=_hypervisor(item, known),
        machine=item.machine,
    )


def _node(one: Mount, known: Catalogue) -> Named:
    try:
        return known.places.node(one.node)
    except NotFound:
        return Named(one.node, "a removed node")


def _hypervisor(one: Mount, known: Catalogue) -> Named | None:
    try:
        found = known.places.hypervisor(one.hypervisor) if one.hypervisor else None
        return Named(found.guid, found.name) if found else None
    except NotFound:
        return None


def _shown(shown: ShownFileSystem, one: Mount) -> MountedFileSystem:
    return MountedFileSystem(
        guid=shown.guid,
        mountedBackup=Named(one.guid, one.entity_name),
        fileSystem=_file_system(volume_guid(one.backup, shown.volume.name), shown.volume),
        mountPath=shown.volume.path or None,
    )


def _file_system(guid: str, volume: BackupVolume) -> BackupFileSystem:
    return BackupFileSystem(
        guid=guid,
        volume=volume.name,
        type=volume.type,
        label=volume.label,
        size=volume.size,
        uuid=volume.uuid or None,
        readable=volume.readable,
        reason=volume.reason or None,
        features=volume.features,
    )


def _asked(call: ApiRequest, query: JsonObject, form: type[_Answer]) -> _Answer:
    """The node's answer to a query about a path of a mounted file system."""
    wanted: PathRequest = call.read(PathRequest)
    mount, shown = mounts.open_volume(call.app, call.who.scope, call.guid)
    of = {"mount": mount.guid, "volume": shown.volume.name, "path": wanted.path or "/"}
    said = b"".join(call.app.node_requests.request(mount.node, query | of))
    try:
        return msgspec.json.decode(said, type=form)
    except msgspec.MsgspecError:
        raise Unavailable("the node sent a malformed response; update the node") from None


def _row(entry: _Entry) -> FileRow:
    return FileRow(**_members(entry))


def _members(entry: _Entry) -> JsonObject:
    """Members of a row, by name."""
    bits = [bool(entry.mode >> shift & 1) for shift in range(8, -1, -1)]
    contents = entry.contents or ("NOT_READABLE" if entry.reason else "NOT_TRIED")
    return {
        "name": entry.name,
        "fileType": label(entry.type),
        "size": entry.size,
        "modified": entry.modified,
        "owner": str(entry.uid),
        "group": str(entry.gid),
        "permissions": [right for right, granted in zip(_RIGHTS, bits, strict=True) if granted],
        "contents": label(contents),
        "target": entry.target,
        "readable": {"READABLE": True, "NOT_READABLE": False}.get(contents),
        "reason": entry.reason or None,
    }


def _details(entry: _Details) -> FileDetails:
    return FileDetails(
        **_members(entry),
        read=entry.read,
        stored=entry.stored,
        inode=entry.node,
        links=entry.links,
        attributes=entry.attributes,
        accessList=entry.access or None,
        defaultAccessList=entry.default or None,
        features=entry.features,
        missing=entry.missing or None,
    )
