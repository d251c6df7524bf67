"""Target of imports and instant restores: the hypervisor, the name, the storage."""

from __future__ import annotations

from haulback.contract.order_records import Hypervisor
from haulback.errors import Malformed, NotFound
from haulback.hypervisor_types import Capability, declared, type_of
from haulback.inventory import reach
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.derived_guids import file_guid
from haulback.inventory.managers import cluster_of, manager_of
from haulback.inventory.own_server import OWN_ENTITY
from haulback.inventory.records import Backup, Entity, Record
from haulback.kinds.api import AnyRequest
from haulback.kinds.support import planning
from haulback.kinds.support.restore_items import cards_wanted, disks_of
from haulback.wire import JsonObject, Named, label


def hypervisor(
    request: AnyRequest, catalogue: Catalogue, origin: Entity, store: reach.Place
) -> Hypervisor:
    """The named host, or the best host of the named manager for a machine like `origin`, among
    hosts with a node that also reaches `store`.

    Raises Malformed, NotFound; Malformed for a backup of the server's own database.
    """
    if origin.guid == OWN_ENTITY:
        raise Malformed(
            "backup: this backup holds the server's own database, not a machine: restore "
            "it with haulback server restore-database",
            field="backup",
        )
    if request.hypervisor and not request.hypervisorManager:
        return catalogue.places.hypervisor(request.hypervisor.guid)
    if not request.hypervisorManager:
        raise Malformed("hypervisor: name the hypervisor of the restore", field="hypervisor")
    manager = catalogue.records.get("hypervisor-manager", request.hypervisorManager.guid)
    if request.hypervisor:
        named = catalogue.places.hypervisor(request.hypervisor.guid)
        if manager_of(named) != manager.guid:
            field = "hypervisorManager"
            raise Malformed(
                f"{field}: {named.name} does not belong to the named manager", field=field
            )
        return named
    home = catalogue.places.hypervisor(origin.hypervisor)
    return _best(request, manager, catalogue, home, store)


def _best(
    request: AnyRequest,
    manager: Record,
    catalogue: Catalogue,
    home: Hypervisor,
    store: reach.Place,
) -> Hypervisor:
    """The host of a manager, and of a cluster if named, that suits a machine of `home`.

    Hosts without a node that reaches `store` are left out.  The host `home` comes first, then the
    hosts of its node, then the others by name.  Raises NotFound if the manager has no host,
    Malformed if none of its hosts is suitable.
    """
    hosts = [host for host in catalogue.places.hypervisors() if manager_of(host) == manager.guid]
    if not hosts:
        raise NotFound(
            f"hypervisorManager: {manager.name} has no hypervisor; name another manager, or a "
            "hypervisor",
            guid=manager.guid,
        )
    wanted = request.restoreClusterId
    inside = [host for host in hosts if not wanted or wanted in _clusters(host, catalogue)]
    if not inside:
        field = "restoreClusterId"
        raise Malformed(f"{field}: {manager.name} has no host in {wanted[:80]}", field=field)
    fitting = [host for host in inside if host.driver == home.driver]
    if not fitting:
        field, words = "hypervisorManager", declared(home.driver).words
        raise Malformed(
            f"{field}: {manager.name} has no host of the platform of {home.name} "
            f"({words}) there; name a hypervisor to restore to another platform",
            field=field,
        )
    near = [host for host in fitting if reach.common((host, store)) != frozenset()]
    if not near:
        planning.pinned(catalogue, fitting[0], store)
    far = {host.guid: (host.guid != home.guid, host.node != home.node, host.name) for host in near}
    return min(near, key=lambda host: far[host.guid])


def honoured(request: AnyRequest, to: Hypervisor, catalogue: Catalogue) -> None:
    """Raises Malformed for an option that the platform does not support."""
    platform = type_of(to.driver, to.config)
    platform.require(Capability.CREATE, "hypervisor")
    fields = ["restoreProject", "restoreVmFlavor"]
    fields += [] if platform.networks else ["restoredNetworks"]
    fields += [] if platform.can(Capability.POWER) else ["powerOnAfterRestore"]
    planning.refuse(request, platform.words, *fields)
    for member, inner in (("dataCenter", "name"), ("baseImage", "uuid")):
        part = getattr(request, member, None)
        planning.refuse(part, platform.words, inner, within=f"{member}.")
    if request.restoreClusterId and request.restoreClusterId not in _clusters(to, catalogue):
        raise Malformed(
            f"restoreClusterId: {to.name} is not in this cluster; name a hypervisor of the cluster",
            field="restoreClusterId",
        )
    for i, file in enumerate(getattr(request, "taskFiles", None) or []):
        planning.refuse(file, platform.words, "config", within=f"taskFiles[{i}].")


def _stores(
    request: AnyRequest, to: Hypervisor, backup: Backup, catalogue: Catalogue
) -> dict[str, str]:
    """The storage pools of disks that are not created in the default folder.  Raises Malformed."""
    usual = _pool(request.restoreStorageId, "restoreStorageId", to, catalogue)
    known = {file_guid(backup.first, item["name"]): str(item["name"]) for item in backup.files}
    result = dict.fromkeys(known.values(), usual)
    for i, file in enumerate(getattr(request, "taskFiles", None) or []):
        if file.storageId and file.backupFile.guid in known:
            field = f"taskFiles[{i}].storageId"
            result[known[file.backupFile.guid]] = _pool(file.storageId, field, to, catalogue)
    return {disk: pool for disk, pool in result.items() if pool}


def no_store(request: AnyRequest, to: Hypervisor, catalogue: Catalogue) -> None:
    """Raises Malformed for a storage, because the hypervisor keeps disks only in its default
    folder.
    """
    field = "restoreStorageId"
    if _pool(request.restoreStorageId, field, to, catalogue):
        raise Malformed(f"{field}: disks are moved to {to.config.get('path')} only", field=field)


def _pool(wanted: str | None, field: str, to: Hypervisor, catalogue: Catalogue) -> str:
    """The name of a storage by its guid, its uuid or its name; "" for the default folder."""
    if wanted in (None, "", str(to.config.get("path", ""))):
        return ""
    for one in catalogue.records.of_kind("hypervisor-storage"):
        pool = one.body.get("pool", "")
        seen = pool and to.guid in one.body.get("seenOn", ())
        if seen and wanted in (one.guid, one.name, one.body.get("uuid"), pool):
            return str(pool)
    raise Malformed(f"{field}: {to.name} has no storage {wanted}", field=field)


def _clusters(to: Hypervisor, catalogue: Catalogue) -> set[str]:
    """The guid and the uuid of the cluster that a hypervisor is in."""
    found = catalogue.records.get("hypervisor-cluster", cluster_of(to))
    return {found.guid, str(found.body.get("uuid") or found.guid)}


def name_of(request: AnyRequest, catalogue: Catalogue) -> str:
    """The requested name, or the name of the machine to replace."""
    other = getattr(request, "dstProtectedEntity", None)
    wanted = request.restoredPeName or ""
    is_blank = bool(wanted) and not wanted.strip()
    if is_blank or len(wanted) > 200 or any(ord(letter) < 32 for letter in wanted):
        raise Malformed(
            "restoredPeName: give 1 to 200 printable characters, not only blanks, or leave it out",
            field="restoredPeName",
        )
    return wanted or (catalogue.machines.get(other.guid).name if other else "")


def target(request: AnyRequest, catalogue: Catalogue, source: str, name: str) -> Named:
    """The machine to create, in the form of `dstProtectedEntity` for portals."""
    if other := getattr(request, "dstProtectedEntity", None):
        return catalogue.machines.get(other.guid).named()
    entity = catalogue.machines.get(source)
    return Named(entity.guid, name or entity.name, label(entity.type))


def wishes(
    request: AnyRequest, name: str, to: Hypervisor, backup: Backup, catalogue: Catalogue
) -> JsonObject:
    """Parameters of a task about the machine to create.  Raises Malformed."""
    if "/" in name and to.driver == "libvirt":
        raise Malformed(
            f"restoredPeName: {name!r}: libvirt takes no slash in the name of a machine",
            field="restoredPeName",
        )
    stores = _stores(request, to, backup, catalogue)
    return {
        "restoredPeName": name,
        "restoreClusterId": request.restoreClusterId or None,
        "restoreStorageId": request.restoreStorageId or None,
        **({"stores": stores} if stores else {}),
        **disks_of(request.taskFiles, backup),
        **cards_wanted(request.restoredNetworks, backup, catalogue),
    }
