"""Clients of a bucket: obstore's, and plain requests that obstore has signed."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from datetime import timedelta
from email.message import Message
from typing import Any, cast

import msgspec
import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from haulback.contract.destination_types import S3Settings
from haulback.destinations.https_access import client_options, opener
from haulback.destinations.s3_errors import answer_of, problem, unanswered, where
from haulback.errors import Misconfigured

_DEFAULT_REGION = "us-east-1"  # the only region of Amazon that a new bucket must not name
_LOCATION = (
    '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>"
)
_ADDRESS = re.compile(r"([0-9.]+|\[.*\])(:[0-9]+)?")  # an IPv4 or IPv6 address, with a port
_LOOK_SECONDS = 10.0  # seconds for a request that only reads headers


def create_bucket(settings: S3Settings) -> None:
    """Create the bucket; an existing bucket is no error."""
    url = obstore.sign(_bucket_client(settings), "PUT", "", timedelta(seconds=60))
    region, body = settings.region, b""
    if not settings.endpoint and region != _DEFAULT_REGION:
        body = _LOCATION.format(region).encode()
    request = urllib.request.Request(url, body, method="PUT")
    try:
        opener(settings.ca, settings.proxy).open(request, timeout=settings.requestTimeout).close()
    except urllib.error.HTTPError as error:
        text = error.read(4000).decode("utf-8", "replace")
        answer = answer_of(Exception(f"status code: {error.code} {text}"))
        if answer.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise problem(answer, settings, "the creation of the bucket") from None
    except OSError as error:
        raise problem(unanswered(error), settings, "the creation of the bucket") from error


def headers_of(settings: S3Settings, client: S3Store, method: Any, name: str) -> Message | None:
    """The headers of the store's answer for an object, with any status; None without an answer."""
    url = obstore.sign(client, method, name, timedelta(seconds=600))
    request = urllib.request.Request(url, method=method)
    try:
        with opener(settings.ca, settings.proxy).open(request, timeout=_LOOK_SECONDS) as answer:
            return cast(Message, answer.headers)
    except urllib.error.HTTPError as error:
        return error.headers
    except (OSError, http.client.HTTPException):
        return None


def _bucket_client(settings: S3Settings) -> S3Store:
    bare = msgspec.structs.replace(settings, prefix="")
    return client_of(bare, settings.accessKeyId, settings.secretAccessKey)


def endpoint_of(settings: S3Settings) -> str:
    """The URL below which the objects lie; without `pathStyle` its host begins with the bucket.

    The setting may name the host with the bucket or without it.  Raises Misconfigured for an
    address, before which no bucket can stand.
    """
    scheme, _, host = settings.endpoint.rstrip("/").partition("://")
    if settings.pathStyle or host.startswith(f"{settings.bucket}."):
        return f"{scheme}://{host}"
    if _ADDRESS.fullmatch(host):
        raise Misconfigured(
            f"pathStyle: false puts the bucket before the host, and {host} in `endpoint` is an "
            "address: name a host there, or leave `pathStyle` out"
        )
    return f"{scheme}://{settings.bucket}.{host}"


def client_of(settings: S3Settings, key: str, secret: str) -> S3Store:
    more: dict[str, Any] = {"endpoint": endpoint_of(settings)} if settings.endpoint else {}
    try:
        return S3Store(
            settings.bucket,
            prefix=settings.prefix or None,
            region=settings.region,
            access_key_id=key,
            secret_access_key=secret,
            virtual_hosted_style_request=not settings.pathStyle,
            # Sealed bytes authenticate themselves, and a checksum by S3 costs a third of the node's
            # CPU.
            unsigned_payload=True,
            disable_bulk_delete=True,
            client_options=client_options(settings, allow_http=True),
            # This module repeats requests itself, because obstore ignores Retry-After and hides
            # that it repeated a create.
            retry_config={"max_retries": 0},
            **more,
        )
    except (BaseError, ValueError) as error:
        raise Misconfigured(
            f"{where(settings)} cannot be opened: {answer_of(error).text}; check `endpoint`, "
            "`proxy` and `ca`"
        ) from error
