"""Records that the orders of several kinds carry to a node."""

from __future__ import annotations

import msgspec

from haulback.wire import JsonObject


class Hypervisor(msgspec.Struct, kw_only=True):
    """A hypervisor; `driver` names the driver, `config` is the driver's configuration.

    `node` is the only node that reaches the hypervisor, `nodes` are the nodes if several reach it;
    without both every node reaches the hypervisor.  `settings` are user settings that the driver
    does not need: manager, cluster, node configuration.
    """

    guid: str
    name: str
    driver: str
    config: JsonObject
    node: str | None = None
    nodes: list[str] = []
    settings: JsonObject = {}


class Owner(msgspec.Struct, frozen=True, omit_defaults=True):
    """The owner of a destination: the server that may write, by the guid of its database.

    `number` is the number of its owner record, 0 without a record; `time` (epoch ms) is the time of
    the record, `revoked` says that the credential with which the previous owner deleted was
    revoked.
    """

    number: int = 0
    server: str = ""
    name: str = ""
    time: int = 0
    revoked: bool = False


class BackupDestination(msgspec.Struct, kw_only=True):
    """A backup destination; `repository` is the repository's guid after initialisation.

    `node` is the only node that reaches the destination, `nodes` are the nodes where several do;
    without either every node reaches it. `settings` holds retention and verification, `probe` the
    results of the probe of its store; spaces are bytes, as a node last reported them. `may_delete`
    grants
    deletion to one task's order: other tasks can only add objects.  `owner` is the owner that the
    server knows; in the order of a task that writes, `owner` is the server itself.
    """

    guid: str
    name: str
    driver: str
    config: JsonObject
    repository: str | None = None
    node: str | None = None
    nodes: list[str] = []
    settings: JsonObject = {}
    total_space: int | None = None
    used_space: int | None = None
    may_delete: bool = False
    verify_state: JsonObject = {}
    probe: JsonObject = {}
    owner: Owner = Owner()


class BackupPlace(msgspec.Struct, frozen=True):
    """Another location of a backup: the backup's guid on that destination, and the destination."""

    backup: str
    destination: BackupDestination


class IncrementBase(msgspec.Struct):
    """The base of an entity's next increment in one repository."""

    entity: str
    destination: str
    backup: str
    checkpoint: str | None = None
