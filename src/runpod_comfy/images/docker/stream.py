"""Reads an engine's responses in one place: its streams report failures inside HTTP 200.

Build, push, pull and load all return a stream of JSON documents, in which a failure is a document
with `error`. docker-py passes it on like any other; here it is raised, with a next step that
depends on the error text of the engine, registry or build step.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import docker.errors
import requests
import urllib3.exceptions  # pants: no-infer-dep (it comes with requests)

from comfy_errors import OperationFailedError
from comfy_files.progress import readable_size
from comfy_http.redaction import without_secrets

Message = dict[str, Any]
How = Literal["pushed", "pulled", "mounted", "existing"]
_ENDS: dict[str, How] = {"Pushed": "pushed", "Pull complete": "pulled"}
_Table = tuple[tuple[str, str], ...]

_ENGINE: _Table = (
    (
        r"no space left on device",
        "Free some space: `docker system df` shows what uses it; `docker builder prune` and "
        "`docker image prune` free some.",
    ),
    (
        r"find bridge|create endpoint|iptables",
        "The engine's bridge network does not work: try --network host, or restart the engine.",
    ),
)
_REGISTRY: _Table = (
    (
        r"docker-credential|credentials store",
        "The credential helper that Docker's config.json names does not work: install it, or "
        "remove it from that file and log in again with `docker login`.",
    ),
    (
        r"unauthorized|authentication required|no basic auth|denied|forbidden|insufficient_scope|"
        r"credentials",
        "Log in with `docker login REGISTRY` as a user with permission, and check the "
        "repository's name.",
    ),
    (
        r"server gave HTTP response to HTTPS client",
        "That registry speaks plain HTTP: use one with a certificate, or list it under "
        "`insecure-registries` in the engine's daemon.json.",
    ),
    (
        r"certificate|x509|unknown authority",
        "The engine does not trust the registry's certificate: add it to the trusted ones on the "
        "engine's machine.",
    ),
    (
        r"no such host|server misbehaving|network is unreachable|no route to host",
        "Check the registry's name, and the network of the engine's machine.",
    ),
    (
        r"connection refused|connection reset|timeout|EOF|broken pipe|deadline exceeded|"
        r"\b50[0234]\b|Service Unavailable",
        "The registry closed the connection or does not answer: check that it is running, then "
        "try again.",
    ),
    (r"manifest unknown|not found|does not exist", "Check the name and the tag."),
)
_STEP: _Table = (
    (
        r"certificate verify failed|x509|unknown authority|SSLError|invalid peer certificate|"
        r"UnknownIssuer|self.signed certificate",
        "If a proxy in your network uses its own certificates, pass them with --ca-bundle FILE.",
    ),
    (
        r"no such host|could not resolve|name resolution|Name or service not known|dns error|"
        r"network is unreachable|failed to lookup|connection refused",
        "The step has no network access: try --network host, or set HTTPS_PROXY if you need a "
        "proxy.",
    ),
    (
        r"No interpreter found",
        "The base does not have the lock's Python: use a base that has it (--base IMAGE), or set "
        "options.python in the spec to the base's Python.",
    ),
    (
        r"exit code: 137|signal: killed|cannot allocate memory|MemoryError",
        "The step was killed, most likely because memory ran out: give the engine more.",
    ),
)


@dataclass(kw_only=True)
class Transfer:
    """One layer by the engine's short id; `how` is None until it has arrived.

    `size_bytes` is the amount to transfer, which the engine only reports once the transfer has
    started.
    """

    layer: str
    how: How | None = None
    done_bytes: int = 0
    size_bytes: int = 0


class Transfers:
    """Handles the messages of one push or pull."""

    def __init__(self) -> None:
        self._layers: dict[str, Transfer] = {}

    def handle(self, message: Message) -> Transfer | None:
        """Handles a message; returns the layer that it reports as complete, if any."""
        layer, status = message.get("id"), str(message.get("status", ""))
        # A pull's first message has the tag as its id.
        if not layer or status.startswith("Pulling from"):
            return None
        transfer = self._layers.setdefault(str(layer), Transfer(layer=str(layer)))
        detail = message.get("progressDetail") or {}
        if status in ("Pushing", "Downloading"):
            transfer.done_bytes = int(detail.get("current") or 0)
            transfer.size_bytes = max(int(detail.get("total") or 0), transfer.done_bytes)
        how = _ENDS.get(status)
        if status.lower().endswith("already exists"):
            how = "existing"
        elif status.startswith("Mounted from"):
            how = "mounted"
        if how is None or transfer.how is not None:
            return None
        transfer.how = how
        transfer.done_bytes = transfer.size_bytes
        return transfer

    @property
    def layers(self) -> list[Transfer]:
        """All layers, in the order in which the engine named them."""
        return list(self._layers.values())

    def in_words(self) -> str:
        """`3/9 layers, 120.0 MB of 400.0 MB`; counts only sizes that the engine has reported."""
        there = sum(transfer.how is not None for transfer in self.layers)
        done = sum(transfer.done_bytes for transfer in self.layers)
        size = sum(transfer.size_bytes for transfer in self.layers)
        words = f"{there}/{len(self._layers)} layers"
        return f"{words}, {readable_size(done)} of {readable_size(size)}" if size else words


def read_messages(stream: Iterable[Mapping[str, Any]], *, doing: str) -> Iterator[Message]:
    """The documents of a decoded stream, until the engine reports a failure.

    `doing` is the beginning of an error message: "pushing demo". Raises OperationFailedError for an
    `error` document and for a broken connection.
    """
    with engine_errors(doing):
        for message in stream:
            detail = message.get("errorDetail")
            explained = detail.get("message") if isinstance(detail, Mapping) else None
            if reason := message.get("error") or explained:
                raise failed(doing, str(reason))
            yield dict(message)


@contextlib.contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Turns errors of a request to an engine into OperationFailedError."""
    try:
        yield
    except docker.errors.DockerException as error:
        raise failed(doing, str(getattr(error, "explanation", None) or error)) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise failed(doing, f"the connection to the engine broke ({error})") from error


def failed(doing: str, reason: str) -> OperationFailedError:
    """The error for something that an engine refused or could not do, with a next step."""
    reason = without_secrets(" ".join(reason.split()))
    return OperationFailedError(f"{doing} failed: {reason}", remedy=engine_remedy(reason))


def engine_remedy(reason: str) -> str:
    """The next step after a request that failed on an engine, or on a registry through it."""
    return _first(reason, _ENGINE + _REGISTRY)


def step_remedy(reason: str) -> str:
    """The next step after a failed build step, chosen by its error and the end of its output."""
    return _first(reason, _ENGINE + _STEP)


def _first(reason: str, table: _Table) -> str:
    for words, remedy in table:
        if re.search(words, reason, re.IGNORECASE):
            return remedy
    return ""
