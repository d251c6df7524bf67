"""Operations about destinations whose backups are copied to others."""

from __future__ import annotations

from haulback.contract import example_values as example
from haulback.contract.copies import CopyLinkRecord, NewCopyLink
from haulback.contract.roles import ADMINS
from haulback.server.http.operation import ApiRequest, Router
from haulback.server.services import destination_sync
from haulback.wire import Named, label

router = Router()


@router(
    "PUT",
    "/backup-destinations/{guid}/copies",
    "Copy all backups of a destination to others.",
    request=list[NewCopyLink],
    answer=CopyLinkRecord,
    many=True,
    roles=ADMINS,
    examples=[[{"backupDestination": example.REF, "roleType": {"name": "SECONDARY"}}], []],
    command="destination copy-to DESTINATION TARGET",
)
def set_copies(call: ApiRequest) -> list[CopyLinkRecord]:
    """Set the destinations that receive a copy of every present and future backup.

    Copies stay on a destination that the request no longer names.
    """
    wanted: list[NewCopyLink] = call.read(list[NewCopyLink])
    destination_sync.set_links(call.app, call.guid, wanted, call.who)
    return [
        CopyLinkRecord(backupDestination=Named(link.target, name), roleType=label(link.role))
        for link, name in destination_sync.links(call.app).get(call.guid, [])
    ]
