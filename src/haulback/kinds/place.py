"""Where a machine is restored to, and as what: what imports and instant restores have in common."""

from __future__ import annotations

from typing import Any

from haulback.errors import Malformed, NotFound
from haulback.inventory.disks import file_guid
from haulback.inventory.platforms import PLATFORMS
from haulback.inventory.records import Backup, Catalogue, Hypervisor
from haulback.kinds import planning
from haulback.kinds.parts import cards_wanted, disks_of
from haulback.wire import Named, label


def hypervisor(request: Any, catalogue: Catalogue) -> Hypervisor:
    """The one named, or the first of the manager named.  Raises Malformed, NotFound."""
    if request.hypervisor and not request.hypervisorManager:
        return catalogue.hypervisor(request.hypervisor.guid)
    if not request.hypervisorManager:
        raise Malformed("hypervisor: name the one to import to", field="hypervisor")
    manager = catalogue.record("hypervisor-manager", request.hypervisorManager.guid)
    if request.hypervisor:
        named = catalogue.hypervisor(request.hypervisor.guid)
        if named.settings.get("hypervisorManager") != manager.guid:
            field = "hypervisorManager"
            raise Malformed(f"{field}: {named.name} does not belong to it", field=field)
        return named
    for one in catalogue.hypervisors():
        if one.settings.get("hypervisorManager") == manager.guid:
            return one
    raise NotFound(f"hypervisorManager: {manager.name} has no hypervisor", guid=manager.guid)


def honoured(request: Any, to: Hypervisor, catalogue: Catalogue) -> None:
    """Raises Malformed for what the platform cannot do; nothing that matters is passed over."""
    platform = PLATFORMS[to.driver]
    fields = ["restoreProject", "restoreVmFlavor"]
    fields += [] if platform.networks else ["restoredNetworks"]
    fields += [] if platform.power_on else ["powerOnAfterRestore"]
    planning.refuse(request, platform.words, *fields)
    for member, inner in (("dataCenter", "name"), ("baseImage", "uuid")):
        part = getattr(request, member, None)
        planning.refuse(part, platform.words, inner, within=f"{member}.")
    if request.restoreClusterId not in (None, "", _cluster(to, catalogue)):
        raise Malformed(f"restoreClusterId: {to.name} is not in it", field="restoreClusterId")
    for i, file in enumerate(getattr(request, "taskFiles", None) or []):
        planning.refuse(file, platform.words, "config", within=f"taskFiles[{i}].")


def _stores(request: Any, to: Hypervisor, backup: Backup, catalogue: Catalogue) -> dict[str, str]:
    """The storage pools of disks that do not go to the usual folder.  Raises Malformed."""
    usual = _pool(request.restoreStorageId, "restoreStorageId", to, catalogue)
    known = {file_guid(backup.guid, one["name"]): str(one["name"]) for one in backup.files}
    found = dict.fromkeys(known.values(), usual)
    for i, file in enumerate(getattr(request, "taskFiles", None) or []):
        if file.storageId and file.backupFile.guid in known:
            field = f"taskFiles[{i}].storageId"
            found[known[file.backupFile.guid]] = _pool(file.storageId, field, to, catalogue)
    return {disk: pool for disk, pool in found.items() if pool}


def no_store(request: Any, to: Hypervisor, catalogue: Catalogue) -> None:
    """Raises Malformed where disks lie in the usual folder and nowhere else."""
    field = "restoreStorageId"
    if _pool(request.restoreStorageId, field, to, catalogue):
        raise Malformed(f"{field}: disks are moved to {to.config.get('path')} only", field=field)


def _pool(wanted: str | None, field: str, to: Hypervisor, catalogue: Catalogue) -> str:
    """The name of a storage by its guid, its uuid or its name; "" for the usual folder."""
    if wanted in (None, "", str(to.config.get("path", ""))):
        return ""
    for one in catalogue.records("hypervisor-storage"):
        pool = one.body.get("pool", "")
        seen = pool and to.guid in one.body.get("seenOn", ())
        if seen and wanted in (one.guid, one.name, one.body.get("uuid"), pool):
            return str(pool)
    raise Malformed(f"{field}: {to.name} has no storage {wanted}", field=field)


def _cluster(to: Hypervisor, catalogue: Catalogue) -> str | None:
    """The uuid of the cluster that a hypervisor is in."""
    guid = to.settings.get("cluster")
    return catalogue.record("hypervisor-cluster", guid).body.get("uuid") if guid else None


def name_of(request: Any, catalogue: Catalogue) -> str:
    """The name wanted, or that of the machine a client wants to have replaced."""
    other = getattr(request, "dstProtectedEntity", None)
    name = str(request.restoredPeName or (catalogue.entity(other.guid).name if other else ""))
    if len(name) > 200 or any(ord(letter) < 32 for letter in name):
        raise Malformed("restoredPeName: at most 200 printable characters", field="restoredPeName")
    return name


def target(request: Any, catalogue: Catalogue, source: str, name: str) -> Named:
    """Portals read `dstProtectedEntity.name` in the answer."""
    if other := getattr(request, "dstProtectedEntity", None):
        return catalogue.entity(other.guid).named()
    entity = catalogue.entity(source)
    return Named(entity.guid, name or entity.name, label(entity.type))


def wishes(
    request: Any, name: str, to: Hypervisor, backup: Backup, catalogue: Catalogue
) -> dict[str, Any]:
    """What a task says of the machine to be made."""
    stores = _stores(request, to, backup, catalogue)
    return {
        "restoredPeName": name,
        "restoreClusterId": request.restoreClusterId or None,
        "restoreStorageId": request.restoreStorageId or None,
        **({"stores": stores} if stores else {}),
        **disks_of(request.taskFiles, backup),
        **cards_wanted(request.restoredNetworks, backup, catalogue),
    }
