"""The reason why a request failed, for messages."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator

# requests translates some errors of urllib3, but not those of raw bytes.
import requests
from urllib3.exceptions import (
    ConnectTimeoutError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)

_SCHEME = re.compile(r"found for ['\"]([a-zA-Z][\w+.-]*:)")


def reason_of(error: Exception, silence_s: float) -> str:
    """Why there is no answer, as the end of a sentence, from a server that may be silent for
    `silence_s` seconds.
    """
    response = getattr(error, "response", None)
    if response is not None and response.status_code >= 400:
        return f"it answered {response.status_code} {response.reason}"
    if is_silence(error):
        return f"it sent nothing for {silence_s:g} s"
    if isinstance(error, requests.TooManyRedirects):
        return "it redirects too often"
    if isinstance(error, requests.exceptions.InvalidSchema) and (
        scheme := _SCHEME.search(str(error))
    ):
        return f"it redirects to {scheme[1]}, which is not allowed"
    if (fault := certificate_fault(error)) is not None:
        return f"its certificate does not verify: {fault}"
    chain = list(_chain(error))
    if any(isinstance(each, NewConnectionError) for each in chain):
        told = [each.strerror for each in chain if isinstance(each, OSError) and each.strerror]
        why = f" ({told[-1][:1].lower()}{told[-1][1:]})" if told else ""
        return f"no connection could be made{why}"
    if any(isinstance(each, ProtocolError) for each in chain):
        return "the connection broke"
    return str(error).split(" (Caused by ")[-1].rstrip(")")


def is_silence(error: BaseException) -> bool:
    """Whether the server sent nothing for as long as it may be silent."""
    chain = list(_chain(error))
    if any(isinstance(each, NewConnectionError) for each in chain):
        return False
    silent = (ReadTimeoutError, ConnectTimeoutError, TimeoutError, requests.Timeout)
    return any(isinstance(each, silent) for each in chain)


def certificate_fault(error: BaseException) -> str | None:
    """Why the server's certificate does not verify; None if something else failed."""
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return (each.verify_message or str(each)).rstrip(".")
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it comes from, outermost first."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and each not in seen:
            seen.append(each)
            yield each
            # urllib3 hands its own errors on as an argument or as the reason.
            waiting += [*each.args, getattr(each, "reason", None), each.__cause__]
