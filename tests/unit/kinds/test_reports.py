"""The declared reports match the kinds and the OpenAPI document."""

from __future__ import annotations

import msgspec
import pytest

from haulback.contract import (
    backup_cleanup,
    destination_init,
    export,
    import_machine,
    inventory_sync,
    mount,
    repair,
    snapshot,
    snapshot_cleanup,
    snapshot_reversion,
    staging_cleanup,
    store,
    verify,
)
from haulback.kinds.registry import KINDS
from haulback.server.http.node_schemas import orders, reports
from haulback.server.http.schemas import Schemas

READ = {
    "BACKUP_CLEANUP": backup_cleanup.BackupCleanupResult,
    "DELETE": backup_cleanup.RemovalResult,
    "BACKUP_DESTINATION_INIT": destination_init.InitResult,
    "EXPORT": export.ExportResult,
    "IMPORT": import_machine.ImportResult,
    "INVENTORY_SYNC": inventory_sync.InventoryScan,
    "SCOPED_INVENTORY_SYNC": inventory_sync.InventoryScan,
    "MOUNT": mount.MountResult,
    "REPAIR": repair.RepairResult,
    "SNAPSHOT": snapshot.SnapshotResult,
    "SNAPSHOT_CLEANUP": snapshot_cleanup.SnapshotCleanupResult,
    "SNAPSHOT_REVERSION": snapshot_reversion.SnapshotReversionResult,
    "STAGING_CLEANUP": staging_cleanup.StagingCleanupResult,
    "STORE": store.StoreResult,
    "VERIFY": verify.VerifyResult,
}


def test_every_kind_declares_its_report():
    assert all(kind.report for kind in KINDS.values())


@pytest.mark.parametrize("kind", sorted(READ))
def test_every_member_that_a_kind_reads_is_in_its_report(kind: str):
    fields = msgspec.structs.fields(READ[kind])
    named = {one.name: one.needed for one in KINDS[kind].report}
    assert {field.encode_name for field in fields} <= named.keys()
    assert {field.encode_name for field in fields if field.required} <= {
        name for name, needed in named.items() if needed
    }


def test_the_schemas_name_every_kind():
    schemas = Schemas()
    reports(schemas, {})
    orders(schemas, {})
    for kind in KINDS:
        name = kind.title().replace("_", "")
        report, order = (schemas.components[f"{name}{item}"] for item in ("Report", "Order"))
        assert all(member["description"] for member in report["properties"].values())
        assert order["properties"].keys() == {
            field.encode_name for field in msgspec.structs.fields(KINDS[kind].order)
        }
