"""What an error of a store's client means: an outage, something to set up, or the store's answer
about one object.

Clients are known by their classes' names: most are not installed, and none is imported here.
botocore's errors are no `OSError`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from pipelines.system.places import is_chain


class Verdict(NamedTuple):
    """What an error means."""

    kind: Literal["outage", "setup", "answer"]
    text: str
    """one line"""
    reached: bool = True
    """whether there was an answer at all"""


_OUTAGE_CODES = {
    "ConditionalRequestConflict",
    "InternalError",
    "NoSuchUpload",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
}
"""a large file's upload that the store does not know any more is begun anew, too"""
_CREDENTIAL_CODES = {
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_REGION_CODES = {
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "301",
}
_OUTAGE_STATUS = {408, 409, 425, 429, 500, 502, 503, 504}
_UNREACHABLE = {
    "botocore.exceptions.ConnectTimeoutError",
    "botocore.exceptions.EndpointConnectionError",
    "builtins.ConnectionRefusedError",
    "socket.gaierror",
}
_BROKEN = {
    "aiohttp.client_exceptions.ClientConnectionError",
    "aiohttp.client_exceptions.ClientPayloadError",
    "botocore.exceptions.ConnectionError",
    "botocore.exceptions.HTTPClientError",
    "botocore.exceptions.IncompleteReadError",
    "botocore.exceptions.ResponseStreamingError",
    "botocore.parsers.ResponseParserError",
    "builtins.ConnectionError",
    "builtins.TimeoutError",
    "http.client.HTTPException",
    "httpx.TransportError",
    "httpx2.TransportError",
    "requests.exceptions.ChunkedEncodingError",
    "requests.exceptions.ConnectionError",
    "requests.exceptions.Timeout",
    "urllib3.exceptions.ProtocolError",
} | _UNREACHABLE
_OUTAGE_ERRNO = {
    errno.EBUSY,
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENETDOWN,
} | ({errno.EREMOTEIO} if hasattr(errno, "EREMOTEIO") else set())
SETTINGS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or for a public bucket "
    "FSSPEC_S3_ANON=true; "
    "other stores' keys go into fsspec's settings"
)


def judge(error: BaseException, uri: str) -> Verdict:
    """What an error of any client means."""
    chain = list(causes(error))
    names = {name for cause in chain for name in _names(cause)}
    reason, place = one_line(error), origin(uri)
    status, code = next(
        (found for cause in chain if (found := status_of(cause)) != (None, "")), (None, "")
    )
    if isinstance(error, RecursionError):  # botocore asks where a bucket is, and is sent on again
        return Verdict(
            "setup",
            f"{place}: its endpoint sends every request elsewhere: set AWS_ENDPOINT_URL (perhaps "
            "to https://) and AWS_DEFAULT_REGION",
        )
    if code in _CREDENTIAL_CODES:
        return Verdict(
            "setup", f"{place}: its credentials are refused ({code}: {reason}): {SETTINGS}"
        )
    if code in _REGION_CODES:
        return Verdict(
            "setup",
            f"{place}: another region or endpoint ({reason}): set AWS_DEFAULT_REGION and "
            "AWS_ENDPOINT_URL",
        )
    if code in _OUTAGE_CODES or status in _OUTAGE_STATUS:
        return Verdict("outage", f"{code or status}: {reason}")
    if any(name.endswith(".SSLError") or name == "ssl.SSLCertVerificationError" for name in names):
        return Verdict(
            "setup",
            f"{place}: no secure connection ({reason}): check AWS_ENDPOINT_URL and AWS_CA_BUNDLE",
        )
    if any(name.endswith(".FileExpired") for name in names):  # s3fs; its number is that of "busy"
        return Verdict("answer", "it was written again while it was read")
    # A broken connection may carry a number too: aiohttp calls a body that is cut short "400".
    if names & _BROKEN or any(
        isinstance(cause, OSError) and cause.errno in _OUTAGE_ERRNO for cause in chain
    ):
        return Verdict("outage", reason, reached=not names & _UNREACHABLE)
    if status is not None:
        return Verdict("answer", reason)
    if isinstance(error, ValueError) and "nvalid endpoint" in reason:
        return Verdict(
            "setup", f"{place}: {reason}: AWS_ENDPOINT_URL must begin with http:// or https://"
        )
    if place.startswith("hf://") and isinstance(error, ValueError | NotImplementedError):
        return Verdict("setup", f"{uri}: {reason}: give hf://datasets/USER/NAME")
    if _about_credentials(error):
        return Verdict("setup", f"{place}: no usable credentials ({reason}): {SETTINGS}")
    return Verdict("answer", reason)


def is_refused(error: BaseException) -> bool:
    """Whether a conditional put was refused because the object is there."""
    return isinstance(error, FileExistsError) or any(
        status_of(cause)[0] == 412 or status_of(cause)[1] == "PreconditionFailed"
        for cause in causes(error)
    )


def has_no_conditions(error: BaseException) -> bool:
    """Whether a store says that it does not know the condition that a request came with."""
    return any(
        status_of(cause)[0] == 501 or status_of(cause)[1] == "NotImplemented"
        for cause in causes(error)
    )


def _about_credentials(error: BaseException) -> bool:
    name, home = type(error).__name__, type(error).__module__
    known = ("Credential", "Profile", "Token", "SSO", "Region", "DefaultCredentials")
    return home.startswith(("botocore.", "google.auth.", "azure.")) and any(
        part in name for part in known
    )


def causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    for _ in range(8):
        if found is None:
            return
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _names(error: BaseException) -> Iterator[str]:
    for kind in type(error).__mro__:
        yield f"{kind.__module__}.{kind.__qualname__}"


def status_of(error: BaseException) -> tuple[int | None, str]:
    """HTTP status and the store's own code, where an error has them."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status, str(response.get("Error", {}).get("Code", ""))
    for holder in (error, response):
        for name in ("status", "status_code", "code"):
            value = getattr(holder, name, None)
            if isinstance(value, int) and 100 <= value < 600:
                return value, ""
    return None, ""


def one_line(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:240]


def origin(uri: str) -> str:
    """The store that a URL is on: scheme and bucket or host."""
    parts = urlsplit(uri.rsplit("::", 1)[-1] if is_chain(uri) else uri)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme else uri
