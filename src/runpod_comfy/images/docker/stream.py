"""What an engine answers, read in one place: its streams tell of failures inside HTTP 200.

Build, push, pull and load all answer with a stream of JSON documents, in which a failure is a
document with `error`. docker-py hands it on like any other; here it is raised.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import docker.errors
import requests
import urllib3.exceptions  # pants: no-infer-dep (it comes with requests)

from comfy_errors import OperationFailedError
from comfy_http.redaction import without_secrets
from runpod_comfy.images.docker.remedies import engine_remedy

Message = dict[str, Any]


def read_messages(stream: Iterable[Mapping[str, Any]], *, doing: str) -> Iterator[Message]:
    """The documents of a decoded stream, until the engine reports that it failed.

    `doing` begins the sentence of an error: "pushing demo". Raises OperationFailedError for an
    `error` document, and for a connection that breaks.
    """
    with engine_errors(doing):
        for message in stream:
            if reason := _error_in(message):
                raise failed(doing, reason)
            yield dict(message)


@contextlib.contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Says in words what a request to an engine raises: OperationFailedError."""
    try:
        yield
    except docker.errors.APIError as error:
        raise failed(doing, str(error.explanation or error)) from error
    except docker.errors.DockerException as error:
        raise failed(doing, str(error)) from error
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        OSError,
    ) as error:
        raise failed(doing, f"the connection to the engine broke ({error})") from error


def failed(doing: str, reason: str) -> OperationFailedError:
    """The error of something that an engine refused or could not do, with what to try."""
    reason = without_secrets(" ".join(reason.split()))
    return OperationFailedError(f"{doing} failed: {reason}", remedy=engine_remedy(reason))


def _error_in(message: Mapping[str, Any]) -> str:
    detail = message.get("errorDetail")
    explained = detail.get("message") if isinstance(detail, Mapping) else None
    return str(message.get("error") or explained or "")
