"""Submissions of kinds that are not built yet: requests are validated completely, then refused.

When a kind is built, its request moves into the file of the kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from haulback.contract import example_values as example
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import OPERATORS, RESTORERS
from haulback.contract.unavailable import (
    AgentImportRequest,
    CloudFeatureRequest,
    CloudImportRequest,
    TapeManagers,
    Tapes,
)
from haulback.errors import KindUnavailable
from haulback.inventory.catalogue import Catalogue
from haulback.kinds.api import AnyRequest, Context, Submission
from haulback.kinds.support import planning
from haulback.kinds.support.backup_choice import chosen
from haulback.tasks.record import Plan

_INSTEAD = {"IMPORT": "POST /tasks/restore-and-import brings a machine back"}


def _plan(path: str, kind: str, check: Callable[[object, Catalogue], None]) -> Callable[..., Plan]:
    """A planner that validates a request completely, then refuses the kind."""

    def plan(request: AnyRequest, catalogue: Catalogue, context: Context) -> Plan:
        planning.task(kind, "upkeep", context, request, planning.TaskSpec(refs={}))
        check(request, catalogue)
        raise KindUnavailable(
            f"POST /tasks/{path} is not available in this version: nothing was started; "
            f"{_INSTEAD.get(kind, 'Haulback does not use tapes')}",
            type=kind,
        )

    return plan


def _backup(request: AnyRequest, catalogue: Catalogue) -> None:
    chosen(request.backup, request.backupLocation, catalogue)
    _known(request, catalogue)


def _known(request: AnyRequest, catalogue: Catalogue) -> None:
    """Check the references of a request.  Raises NotFound."""
    if ref := getattr(request, "node", None):
        catalogue.places.node(ref.guid)
    if ref := getattr(request, "hypervisor", None):
        catalogue.places.hypervisor(ref.guid)
    if ref := getattr(request, "hypervisorManager", None):
        catalogue.records.get("hypervisor-manager", ref.guid)
    if ref := getattr(request, "backupDestination", None):
        catalogue.places.destination(ref.guid)
    if ref := getattr(request, "rule", None):
        catalogue.records.get("rule", ref.guid)


def _list_of(field: str) -> Callable[[object, Catalogue], None]:
    def check(request: AnyRequest, catalogue: Catalogue) -> None:
        planning.some(field, getattr(request, field))
        _known(request, catalogue)

    return check


def _way(
    path: str,
    kind: str,
    request: type[msgspec.Struct],
    check: Callable[[object, Catalogue], None],
    **more: Any,
) -> Submission:
    return Submission(path, request, _plan(path, kind, check), **more)


WAYS = (
    _way(
        "eject-tape",
        "EJECT_TAPE",
        Tapes,
        _list_of("tapes"),
        summary="Create eject tape task.",
        roles=OPERATORS,
        examples=[{"tapes": [example.REF]}],
        command="tape eject TAPE",
    ),
    _way(
        "import-tape",
        "IMPORT_TAPE",
        Tapes,
        _list_of("tapes"),
        summary="Create import tape task.",
        roles=OPERATORS,
        examples=[{"tapes": [example.REF]}],
        command="tape import TAPE",
    ),
    _way(
        "tape-manager-inventory-sync",
        "TAPE_MANAGER_INVENTORY_SYNC",
        TapeManagers,
        _list_of("tapeManagers"),
        summary="Create tape manager inventory synchronization task.",
        roles=OPERATORS,
        examples=[{"tapeManagers": [example.REF]}],
        command="tape sync MANAGER",
    ),
    _way(
        "import-for-cloud",
        "IMPORT",
        CloudImportRequest,
        _backup,
        summary="Create import task for cloud.",
        roles=RESTORERS,
        projects=ProjectAccess.OBJECTS,
        examples=[{"backup": example.REF, "restorePath": "/"}],
        command="cloud import BACKUP /mail",
    ),
    _way(
        "import-for-cloud/per-feature",
        "IMPORT",
        CloudFeatureRequest,
        _backup,
        summary="Create import task for cloud, with options per feature.",
        roles=RESTORERS,
        projects=ProjectAccess.OBJECTS,
        examples=[
            {"backup": example.GUID, "optionsPerFeature": [{"feature": "MAIL", "options": {}}]}
        ],
        command="cloud import BACKUP /mail --per-feature MAIL",
    ),
    _way(
        "import-for-os-agent",
        "IMPORT",
        AgentImportRequest,
        _backup,
        summary="Create import task for agent.",
        roles=RESTORERS,
        projects=ProjectAccess.OBJECTS,
        examples=[{"backup": example.GUID, "restorePath": "/srv"}],
        command="agent import BACKUP /srv",
    ),
)
