"""The ledger on a connection: changes of records at the start and the end of tasks."""

from __future__ import annotations

import sqlalchemy as sa

from haulback.server.store.alarms import AlarmLedger
from haulback.server.store.backup_ledger import BackupLedger
from haulback.server.store.damage_ledger import DamageLedger
from haulback.server.store.destination_ledger import DestinationLedger
from haulback.server.store.inventory_ledger import InventoryLedger
from haulback.server.store.mount_ledger import MountLedger
from haulback.server.store.proof_ledger import BaseLedger, ProofLedger, Signer
from haulback.server.store.removal_ledger import RemovalLedger
from haulback.server.store.restore_ledger import RestoreLedger
from haulback.server.store.snapshot_ledger import SnapshotLedger


class SqlLedger:
    """`inventory.ledger.Ledger` on a connection, at the server time `now` (epoch ms).

    `sign` signs the evidence of proofs; a ledger without `sign` records no proof.
    """

    def __init__(self, sql: sa.Connection, now: int, sign: Signer | None = None) -> None:
        self.now = now
        self.alarms = AlarmLedger(sql, now)
        self.backups = BackupLedger(sql, now)
        self.proofs = ProofLedger(sql, now, sign)
        self.bases = BaseLedger(sql)
        self.destinations = DestinationLedger(sql, now, self.alarms)
        self.inventory = InventoryLedger(sql, now, self.alarms)
        self.removals = RemovalLedger(sql, self.alarms, self.inventory)
        self.snapshots = SnapshotLedger(sql, now)
        self.mounts = MountLedger(sql, now)
        self.restores = RestoreLedger(sql, now)
        self.damage = DamageLedger(sql, now, self.alarms)
