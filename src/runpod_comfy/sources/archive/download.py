"""Brings an archive that a URL names into the archive store; nothing else comes in that way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from comfy_errors import MismatchError, OperationFailedError, UnavailableError
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.archive_store import find_archive, keep_archive
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.sources.archive.extract import begins_like_an_archive
from runpod_comfy.sources.index.pip_settings import read_pip_settings

_BEGINNING_BYTES = 512
_CHUNK_BYTES = 1024 * 1024


def stored_archive(
    pin: str | None, title: str, fetch_context: FetchContext, *, on_disk: bool = False
) -> Path | None:
    """The archive with the pin `sha256:…` from the cache; None if it has to be brought there.

    Raises UnavailableError if that is not allowed; one `on_disk` needs no network. `title` names
    the archive in messages.
    """
    archive = find_archive(pin.removeprefix("sha256:"), fetch_context.cache) if pin else None
    if archive is None and fetch_context.offline and not on_disk:
        shown = f"{title} ({pin})" if pin else title
        raise UnavailableError(
            f"{shown} is not in the cache, and the network may not be asked",
            remedy="Run the command once without --offline.",
        )
    return archive


def download_archive(
    url: str, pin: str | None, title: str, fetch_context: FetchContext
) -> tuple[Path, str]:
    """The archive at `url`, brought into the cache, and its pin.

    Raises UnavailableError when it cannot be had or is no archive, MismatchError when it is not
    the one with the pin `pin`; nothing is kept then.
    """
    expected = pin.removeprefix("sha256:") if pin else None
    fetch_context.say(f"Downloading {title}")
    arriving = _from_disk(url) if is_on_disk(url) else _from_server(url, fetch_context)
    try:
        path, found = keep_archive(
            _refusing_pages(arriving, url, title),
            fetch_context.cache,
            where=title,
            expected_sha256=expected,
        )
    except MismatchError as error:
        raise MismatchError(
            error.message,
            remedy="What lies at that address was changed. Find out why; to take it in, remove its "
            "'commit' from the spec, if it stands there, and: runpod-comfy resolve <id> --upgrade",
        ) from error
    return path, f"sha256:{found}"


def is_on_disk(url: str) -> bool:
    """Whether no network is needed to read it."""
    return url.startswith("file:")


def _from_server(url: str, fetch_context: FetchContext) -> Iterator[bytes]:
    # Loaded late: an archive that the cache has needs no network.
    from comfy_http.client import HttpClient

    # pip's own certificate of a client is for its index, not for any server.
    settings = replace(read_pip_settings(), client_cert=None)
    client = HttpClient(settings=settings, remedy="Check the address, the network and the proxy.")
    with client.download(url, say=fetch_context.say) as chunks:
        yield from chunks


def _from_disk(url: str) -> Iterator[bytes]:
    path = Path(unquote(urlsplit(url).path))
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnavailableError(
            f"there is no archive {path}", remedy="Correct 'repo', or put the archive there."
        ) from error
    except OSError as error:
        raise OperationFailedError(
            f"the archive {path} cannot be read: {error}", remedy="Check its permissions."
        ) from error


def _refusing_pages(chunks: Iterator[bytes], url: str, title: str) -> Iterator[bytes]:
    """The same bytes; a page that asks for a login, say, is told before it gets a pin."""
    first = b""
    for chunk in chunks:
        first += chunk
        if len(first) >= _BEGINNING_BYTES:
            break
    if not begins_like_an_archive(first):
        what = "a web page" if first.lstrip()[:1] == b"<" else "something else"
        raise UnavailableError(
            f"{without_secrets(url)} gave {what} instead of an archive (for {title})",
            remedy="Open it in a browser: it may ask for a login, or the archive has moved.",
        )
    yield first
    yield from chunks
