"""A model over HTTP, verified while it streams. What has its final name is whole."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from comfy_errors import MismatchError, OperationFailedError, UnavailableError
from comfy_models.search import NeededModel

if TYPE_CHECKING:
    import aiohttp

_CHUNK_BYTES = 1 << 20
# Without a byte for so long, a transfer is given up.
_QUIET_S = 60.0
# A partial file that nobody has written to for so long belongs to a process that was killed.
_LEFT_S = 3600.0


async def download(model: NeededModel, place: Path) -> None:
    """Brings `model` to `place` from its source, or from the first mirror that has it.

    Raises OperationFailedError that says of each address why not; nothing is at `place` then.
    """
    import aiohttp

    addresses = [one for one in (model.source, *model.mirrors) if one]
    faults = []
    # Identity: the bytes are compared as they come.
    headers = {"Accept-Encoding": "identity"}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_QUIET_S, sock_read=_QUIET_S)
    async with aiohttp.ClientSession(
        timeout=timeout, headers=headers, trust_env=True, auto_decompress=False
    ) as session:
        for address in addresses:
            try:
                await _fetch(session, address, model, place)
                return
            except (UnavailableError, MismatchError) as error:
                faults.append(error.message)
            except (aiohttp.ClientError, TimeoutError) as error:
                reason = str(error) or type(error).__name__
                faults.append(f"{shown(address)} could not be downloaded: {reason}")
    raise OperationFailedError("; ".join(faults) or "its source is not known")


def shown(address: str) -> str:
    """`address` without what may be secret: name, password and query."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


async def _fetch(
    session: aiohttp.ClientSession, address: str, model: NeededModel, place: Path
) -> None:
    scheme = urlsplit(address).scheme
    if scheme not in ("http", "https"):
        kind = f"{scheme}://" if scheme else "a file of another machine"
        raise UnavailableError(f"{shown(address)} cannot be downloaded at start: it is {kind}")
    async with session.get(address) as response:
        if response.status != 200:
            raise UnavailableError(f"{shown(address)} answers HTTP {response.status}")
        if response.content_length not in (None, model.size_bytes):
            raise MismatchError(
                f"{shown(address)} has {response.content_length} bytes, not {model.size_bytes}"
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_left(place)
        partial = place.with_name(f".{place.name}.{uuid.uuid4().hex}.partial")
        try:
            await _write(response, partial, model, shown(address))
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)


async def _write(
    response: aiohttp.ClientResponse, partial: Path, model: NeededModel, address: str
) -> None:
    digest = hashlib.sha256()
    size_bytes = 0
    with partial.open("wb") as stream:
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            digest.update(chunk)
            stream.write(chunk)
            size_bytes += len(chunk)
            if size_bytes > model.size_bytes:
                break
        stream.flush()
        os.fsync(stream.fileno())
    if size_bytes != model.size_bytes:
        told = "more" if size_bytes > model.size_bytes else str(size_bytes)
        raise MismatchError(f"{address} has {told} bytes, not {model.size_bytes}")
    if digest.hexdigest() != model.sha256:
        raise MismatchError(f"{address} has the sha256 {digest.hexdigest()}, not {model.sha256}")


def _remove_left(place: Path) -> None:
    for left in place.parent.glob(f".{glob.escape(place.name)}.*.partial"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _LEFT_S:
                left.unlink()
