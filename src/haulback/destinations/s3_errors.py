"""Errors of S3 stores, explained in terms of their settings.

obstore returns the status and the answer of a store only as text.
"""

from __future__ import annotations

import re
import ssl
from typing import NamedTuple

from haulback.contract.destination_types import S3Settings
from haulback.destinations.https_access import tls_problem
from haulback.errors import HaulbackError, Misconfigured, OutOfSpace, Unavailable

_STATUS = re.compile(r"status code: ([0-9]{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,80})</Code>|\(code: ([A-Za-z0-9]{1,80})\)")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})</Message>")
_DEBUG = "\n\nDebug source:"
# the codes of problems whose text is a sentence with a remedy
SENTENCES = ("Tls", "PlainHttp")
_WANTS_TLS = "the store expects TLS at this address: write https:// in `endpoint`"
BUSY = {"SlowDown", "ServiceUnavailable", "TooManyRequests", "RequestLimitExceeded", "Throttling"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "EntityTooLarge"}
_NEW_SECRETS = "give the destination new credentials with `haulback destination set --secret`"
_REMEDIES = {
    "NoSuchBucket": "the bucket does not exist: correct `bucket`, or set `createBucket` for a new "
    "destination; the backups of a deleted bucket are lost",
    "InvalidBucketName": "the store refuses the name of the bucket: correct `bucket`",
    "InvalidAccessKeyId": f"`accessKeyId` is unknown to the store: {_NEW_SECRETS}",
    "SignatureDoesNotMatch": f"`secretAccessKey` does not fit `accessKeyId`: {_NEW_SECRETS}",
    "ExpiredToken": f"the credentials have expired: {_NEW_SECRETS}",
    "InvalidToken": f"the credentials are not valid: {_NEW_SECRETS}",
    "TokenRefreshRequired": f"the credentials have expired: {_NEW_SECRETS}",
    "AccountProblem": "the account is closed or suspended: ask the provider of the store",
    "AllAccessDisabled": "the account is closed or suspended: ask the provider of the store",
    "RequestTimeTooSkewed": "the clocks of node and store differ too much: set the node's clock",
    "AuthorizationHeaderMalformed": "the bucket is in another region: correct `region`",
    "PermanentRedirect": "the bucket is in another region: correct `region` and `endpoint`",
    "TemporaryRedirect": "the bucket is in another region: correct `region` and `endpoint`",
    "IllegalLocationConstraintException": "the store serves another region: correct `region`",
    "InvalidLocationConstraint": "the store does not know the region: correct `region`",
    "InvalidStorageClass": "the store does not know `storageClass`: leave it out",
    "InvalidObjectState": "the object is in an archive class that must be restored first: use a "
    "storage class whose objects can be read at once",
    "AccessDenied": "the credentials may not do this: grant s3:PutObject, s3:GetObject and "
    "s3:ListBucket to `accessKeyId` (with `createBucket` also s3:CreateBucket), and "
    "s3:DeleteObject to the deleting credentials",
}
_TO_BE_MADE = (
    "the bucket does not exist: `haulback destination init` makes the bucket of a new destination; "
    "the backups of a deleted bucket are lost"
)
_OF_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch")
DELETION = "the deletion of "  # start of the name of an operation with the deleting credentials
_BY_STATUS = {301: "PermanentRedirect", 403: "AccessDenied", 507: "InsufficientStorage"}


class Answer(NamedTuple):
    """The answer of a store to a failed request: status, S3's code, and a line of text.

    `status` is None for a request without an answer.
    """

    status: int | None
    code: str
    text: str

    @property
    def is_busy(self) -> bool:
        """Whether the store asks for a pause."""
        return self.status in (429, 503) or self.code in BUSY


def answer_of(error: Exception) -> Answer:
    """Read the answer of a store from an error of obstore."""
    told, _, debug = str(error).partition(_DEBUG)
    status, code, message = _STATUS.search(told), _CODE.search(told), _MESSAGE.search(told)
    number = int(status[1]) if status else None
    known = (code[1] or code[2]) if code else _BY_STATUS.get(number or 0, "")
    if "redirect without LOCATION" in told:
        known = "PermanentRedirect"
    if number is None and (sentence := tls_problem(debug)):
        return Answer(None, "Tls", sentence)
    if number == 400 and not known and "HTTPS" in told:
        return Answer(number, "PlainHttp", _WANTS_TLS)
    return Answer(number, known, message[1] if message else _line(told, debug))


def unanswered(error: Exception) -> Answer:
    """The answer of a request by urllib that reached no store."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLError):
        return Answer(None, "Tls", tls_problem(str(reason)))
    return Answer(None, "", str(reason))


def problem(answer: Answer, settings: S3Settings, doing: str, pause: float = 0.0) -> HaulbackError:
    """The error of a failed request; `doing` names the operation that failed, `pause` is the
    requested wait in s.
    """
    begin = f"{doing} failed at {where(settings)}"
    if answer.code in SENTENCES:
        return Misconfigured(f"{begin}: {answer.text}")
    if answer.code in _FULL:
        return OutOfSpace(f"{begin}: the store is full or its quota is used up: {answer.text}")
    if answer.is_busy:
        return Unavailable(
            f"{begin}: the store limits the rate of requests; try again later", retryAfter=pause
        )
    if remedy := _remedy(answer.code, settings, doing):
        told = f"{answer.code}: {answer.text}" if answer.text else answer.code
        return Misconfigured(f"{begin}: {remedy} ({told})")
    if answer.status is None:
        return Unavailable(
            f"{begin}: no answer: {answer.text}; check `endpoint`, `proxy` and the network"
        )
    if not answer.code:
        return Unavailable(
            f"{begin}: the answer is not one of an S3 store: {answer.text.rstrip(': ')}; check "
            "`endpoint`, with its protocol and port, and `proxy`"
        )
    return Unavailable(f"{begin}: {answer.status} {answer.code}: {answer.text}")


def _remedy(code: str, settings: S3Settings, doing: str) -> str:
    """The sentence for an error code, with the settings of the request; "" for other codes."""
    remedy = _REMEDIES.get(code, "")
    if code in _OF_KEYS and settings.deleteAccessKeyId and doing.startswith(DELETION):
        remedy = remedy.replace("`accessKeyId`", "`deleteAccessKeyId`")
        return remedy.replace("`secretAccessKey`", "`deleteSecretAccessKey`")
    if code == "NoSuchBucket" and settings.createBucket:
        return _TO_BE_MADE
    return remedy


def where(settings: S3Settings) -> str:
    """The location of a destination, for messages."""
    below = f"/{settings.prefix}" if settings.prefix else ""
    return f"{settings.bucket}{below} on {settings.endpoint or 'Amazon S3 ' + settings.region}"


def _line(told: str, debug: str) -> str:
    """The end of an error's text, with the reason that only its details contain."""
    reason = re.search(r"\b(ConnectionRefused|ConnectionReset|TimedOut|dns error|Dns)\b", debug)
    line = " ".join(told.split()).rpartition(" - ")[2][-200:]
    return f"{line} ({reason[1]})" if reason else line
