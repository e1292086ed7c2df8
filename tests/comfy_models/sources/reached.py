"""Hosts of models as tests reach them, and what they read there."""

from __future__ import annotations

import contextlib
from pathlib import Path

from comfy_files.progress import Say, say_nothing
from comfy_http.client import HttpClient
from comfy_http.settings import NetworkSettings
from comfy_models.sources.hosts import Hosts, hosts_for
from comfy_models.sources.source import Source, Stream


def hosts_with(
    folder: Path,
    variables: dict[str, str],
    *,
    timeout_s: float = 10.0,
    say: Say = say_nothing,
) -> Hosts:
    """Without the variables of this machine, and with `folder` as its home."""
    client = HttpClient(settings=NetworkSettings(), remedy="Try again later.")
    return hosts_for(
        client, folder, {"HOME": str(folder), **variables}, timeout_s=timeout_s, say=say
    )


def read(
    source: Source, start: int = 0, end: int | None = None, *, validator: str | None = None
) -> bytes:
    """The bytes [start, end), from a source that obeys ranges."""
    with contextlib.closing(source.open(start, end, validator=validator)) as stream:
        assert stream.start == start
        arrived = bytearray()
        drain(stream, arrived)
        return bytes(arrived)


def drain(stream: Stream, arrived: bytearray) -> None:
    """Adds what is left of `stream` to `arrived`."""
    while chunk := stream.read(65536):
        arrived += chunk
