"""Notifications: the test of a channel, and the log of deliveries.

Channels and rules are records: see `configuration`.
"""

from __future__ import annotations

from haulback.contract.notifications import DeliveryRecord
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import ADMINS, PEOPLE
from haulback.inventory.delivery import Delivery
from haulback.server.http import paging, query_params
from haulback.server.http.operation import GUID, ApiRequest, Param, Reply, Router
from haulback.server.services import delivery
from haulback.wire import Named, label

_STATES = ("COLLECTING", "WAITING", "SENDING", "DELIVERED", "FAILED")
router = Router()


@router(
    "POST",
    "/notification-channels/{guid}/test",
    "Send a test message by a channel.",
    answer=DeliveryRecord,
    roles=ADMINS,
    projects=ProjectAccess.CHANGE,
    slow=True,
    command="notify channel test CHANNEL",
)
def try_channel(call: ApiRequest) -> DeliveryRecord:
    """Send a test message at once; its `state` is DELIVERED or FAILED, `statusInfo` is the
    reason.
    """
    return _shown(delivery.try_channel(call.app, call.who, call.guid))


@router(
    "GET",
    "/deliveries",
    "Messages to receivers of notifications.",
    answer=DeliveryRecord,
    many=True,
    query=(
        *paging.COMMON,
        *paging.SPAN,
        Param("channel", "Of this channel.", GUID),
        Param("state", "In these states.", {"enum": list(_STATES)}, many=True),
    ),
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="notify log",
)
def list_deliveries(call: ApiRequest) -> Reply:
    """A page of messages, the newest first."""
    states = query_params.names(call, "state", set(_STATES))
    channel = query_params.guid(call, "channel")
    wanted = paging.wanted(call, statuses=states, subject=channel)
    return paging.page(*delivery.page(call.app, wanted), _shown)


@router(
    "GET",
    "/deliveries/{guid}",
    "A message with its attempts.",
    answer=DeliveryRecord,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="notify show DELIVERY",
)
def one_delivery(call: ApiRequest) -> DeliveryRecord:
    """A message with the log of its last attempts."""
    return _shown(delivery.delivery(call.app, call.guid, call.who.scope))


@router(
    "POST",
    "/deliveries/{guid}/redeliver",
    "Deliver a message again.",
    answer=DeliveryRecord,
    roles=ADMINS,
    projects=ProjectAccess.OBJECTS,
    command="notify redeliver DELIVERY",
)
def redeliver(call: ApiRequest) -> DeliveryRecord:
    """Queue a message for another delivery at once, with the same id."""
    return _shown(delivery.again(call.app, call.who, call.guid))


def _shown(row: Delivery) -> DeliveryRecord:
    is_open = row.finished is None
    return DeliveryRecord(
        guid=row.guid,
        channel=Named(row.channel, row.channel_name),
        type=label(row.type),
        state=label(row.state),
        creationTime=row.created,
        events=row.count if row.message is None else 0,
        title=row.title,
        attempts=row.attempts,
        rule=Named(row.rule, row.rule_name or "") if row.rule else None,
        nextAttempt=row.due if is_open and row.state in ("COLLECTING", "WAITING") else None,
        finishTime=row.finished,
        statusInfo=row.status_info,
        log=row.tried,
        project=row.project,
    )
