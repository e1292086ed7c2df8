"""An archive at a URL as a tree: its pin is the sha256 of the archive.

If an archive has a single top folder, as those of forges do, the tree is the content of that
folder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from comfy_errors import MismatchError, UnavailableError
from comfy_files.files import COPY_BYTES, disk_errors
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.archive_store import find_archive, keep_archive
from runpod_comfy.cache.tree import FetchContext, Fill, Filling, TreeRequest, TreeStore
from runpod_comfy.sources.extract import TopFolder, begins_like_an_archive, extract
from runpod_comfy.sources.index.pip_settings import web_client
from runpod_comfy.sources.kinds import TreeSource

_BEGINNING_BYTES = 512


class ArchiveSource(TreeSource):
    """The TreeSource of archives such as `https://….zip`."""

    top_folder: TopFolder = "entered if it is the only one"

    def pin(self, request: TreeRequest, fetch_context: FetchContext) -> str:
        self.refuse_foreign_archive(request, fetch_context)
        return self._archive(request, fetch_context)[1]

    def bring(self, request: TreeRequest, fetch_context: FetchContext) -> Fill:
        archive, _ = self._archive(request, fetch_context)
        return partial(unpack, request, archive, self.top_folder)

    def refuse_foreign_archive(self, request: TreeRequest, fetch_context: FetchContext) -> None:
        """Raises MismatchError if the cache has the pin of a request, but its URL another archive.

        Does nothing offline, and where the URL cannot be reached. What is not in the cache is
        compared when it is fetched.
        """
        if request.commit is None or fetch_context.offline:
            return
        if TreeStore(cache=fetch_context.cache).find(request) or stored_archive(
            request, fetch_context
        ):
            with contextlib.suppress(UnavailableError):
                _download(self.url_of(request, fetch_context), request, fetch_context)

    def url_of(self, request: TreeRequest, _fetch_context: FetchContext) -> str:
        """The URL of a request's archive."""
        return request.repo

    def _archive(self, request: TreeRequest, fetch_context: FetchContext) -> tuple[Path, str]:
        """The archive, fetched into the cache if it is not there, and its pin."""
        stored = stored_archive(request, fetch_context)
        if stored is not None and request.commit is not None:
            return stored, request.commit
        return _download(self.url_of(request, fetch_context), request, fetch_context)


def stored_archive(request: TreeRequest, fetch_context: FetchContext) -> Path | None:
    """The archive with a request's pin in the cache; None if it has to be fetched.

    Raises UnavailableError if fetching is not allowed; a file on this disk needs no network.
    """
    pin = request.commit
    archive = find_archive(pin.removeprefix("sha256:"), fetch_context.cache) if pin else None
    if archive is None and not request.repo.startswith("file:"):
        shown = f"{request.title} ({pin})" if pin else request.title
        fetch_context.need_network(
            f"{shown} is not in the cache, and network access is off (--offline)"
        )
    return archive


def unpack(request: TreeRequest, archive: Path, top_folder: TopFolder, target: Path) -> Filling:
    """Extracts a request's archive into an empty folder."""
    epoch = extract(
        archive, target, where=request.title, subdir=request.subdir, top_folder=top_folder
    )
    return Filling(epoch=epoch)


def _download(url: str, request: TreeRequest, fetch_context: FetchContext) -> tuple[Path, str]:
    """Downloads the archive at `url` into the cache; returns it and its pin.

    Raises UnavailableError if it cannot be fetched or is not an archive, MismatchError if it is not
    the pinned one; nothing is kept then.
    """
    fetch_context.say(f"Downloading {request.title}")
    is_on_disk = url.startswith("file:")
    arriving = _from_disk(url) if is_on_disk else _from_server(url, fetch_context)
    try:
        path, found = keep_archive(
            _refusing_pages(arriving, url, request.title),
            fetch_context.cache,
            where=request.title,
            expected_sha256=request.commit.removeprefix("sha256:") if request.commit else None,
        )
    except MismatchError as error:
        raise MismatchError(
            error.message,
            remedy="The archive at that URL has changed. Find out why; to accept it, remove its "
            "'commit' from the spec if it has one, then run: runpod-comfy resolve <id> --upgrade",
        ) from error
    return path, f"sha256:{found}"


def _from_server(url: str, fetch_context: FetchContext) -> Iterator[bytes]:
    client = web_client(remedy="Check the URL, the network and the proxy.")
    with client.download(url, say=fetch_context.say) as chunks:
        yield from chunks


def _from_disk(url: str) -> Iterator[bytes]:
    path = Path(unquote(urlsplit(url).path))
    with disk_errors(f"the archive {path} cannot be read", remedy="Check its permissions."):
        if not path.exists():
            raise UnavailableError(
                f"there is no archive at {path}", remedy="Correct 'repo', or put the archive there."
            )
        with path.open("rb") as stream:
            while chunk := stream.read(COPY_BYTES):
                yield chunk


def _refusing_pages(chunks: Iterator[bytes], url: str, title: str) -> Iterator[bytes]:
    """Yields `chunks`, but rejects a web page, such as a login page, before it gets a pin."""
    first = b""
    for chunk in chunks:
        first += chunk
        if len(first) >= _BEGINNING_BYTES:
            break
    if not begins_like_an_archive(first):
        what = "a web page" if first.lstrip()[:1] == b"<" else "something else"
        raise UnavailableError(
            f"{without_secrets(url)} returned {what} instead of an archive (for {title})",
            remedy="Open it in a browser: it may ask for a login, or the archive has moved.",
        )
    yield first
    yield from chunks
