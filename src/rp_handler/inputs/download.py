"""Files at a URL: streamed to disk, and resumed where the connection broke."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from comfy_errors import ComfyError, InvalidInputError, UnavailableError
from comfy_files.files import COPY_BYTES
from comfy_files.parallel import end_if_interrupted
from comfy_files.progress import readable_size
from comfy_http.client import HttpClient
from comfy_http.errors import OtherRangeError, TransientError
from comfy_http.guarded import GuardedClient, PrivateAddressError, ProxyError
from comfy_http.ranges import Location, RangeReader
from comfy_http.redaction import in_one_line
from comfy_http.retries import Backoff, pause
from comfy_http.settings import NetworkSettings
from comfy_models.sources.buckets.address import BUCKET_SCHEMES
from comfy_models.sources.errors import GoneError
from comfy_models.sources.hosts import hosts_for
from comfy_models.sources.kinds import source_for
from comfy_models.sources.source import Stream
from rp_handler.inputs.document import scheme_of
from rp_handler.inputs.policy import FILE_MB, PRIVATE, InputPolicy

_ATTEMPTS = 3
_REDIRECTS = 10
_NEXT = "Check that the URL can be read from elsewhere, then send the job again."
REMEDIES: Mapping[type[ComfyError], str] = {
    PrivateAddressError: f"If this worker may read from its own network, set {PRIVATE}=1 for it.",
    ProxyError: "Add the host to NO_PROXY of this worker, or, if it may read from its own network "
    f"too, set {PRIVATE}=1.",
    GoneError: "Put the file there, or correct its address.",
}
_PAGES = (".html", ".htm", ".xhtml")

Opening = Callable[[int, str | None], Stream]
"""Opens the file at an offset, if it still has the validator."""


class Downloads:
    """Reads from the URLs of one job, in several threads, until it is closed."""

    def __init__(self, policy: InputPolicy, variables: Mapping[str, str]) -> None:
        self._policy = policy
        settings = NetworkSettings(timeout_s=policy.silence_s)
        self._client = GuardedClient(
            settings=settings, remedy=_NEXT, retries=0, allows_private=policy.allows_private
        )
        self._session = self._client.session()
        self._session.max_redirects = _REDIRECTS
        # Buckets are at endpoints that the worker's own variables name, with the worker's login.
        plain = HttpClient(settings=settings, remedy=_NEXT)
        self._hosts = hosts_for(plain, Path("/"), variables, timeout_s=policy.silence_s)

    def close(self) -> None:
        self._session.close()
        self._hosts.session.close()

    def fetch(self, url: str, name: str, target: BinaryIO, count: Callable[[int], None]) -> str:
        """Writes the file at `url` to `target`; returns its sha256, 64 hex digits.

        `count` gets the size of each chunk before it is written, and may raise. Raises
        InvalidInputError for a file that is too large and an address that is not allowed, and
        otherwise UnavailableError.
        """
        try:
            return self._fetched(url, name, target, count)
        except (PrivateAddressError, ProxyError, GoneError) as error:
            error.remedy = next(it for kind, it in REMEDIES.items() if isinstance(error, kind))
            raise

    def _fetched(self, url: str, name: str, target: BinaryIO, count: Callable[[int], None]) -> str:
        opening, backoff = self._opening(url), Backoff(attempts=_ATTEMPTS)
        transfer = _Transfer(url, target, count, self._policy.file_bytes)
        while True:
            try:
                start = transfer.resumed_at()
                with contextlib.closing(opening(start, transfer.validator)) as stream:
                    _refuse_page(stream, url, name)
                    return transfer.take(stream)
            except TransientError as error:
                if isinstance(error, OtherRangeError):
                    transfer.validator = None
                if (error.wait_s or 0) > self._policy.silence_s:
                    raise
                pause(backoff.next_wait_s(error))

    def _opening(self, url: str) -> Opening:
        if scheme_of(url) in BUCKET_SCHEMES:
            source = source_for(url, self._hosts)
            return lambda at, validator: source.open(at, None, validator=validator)
        where = Location(url=url, uses_netrc=False, name=shown(url))
        reader = RangeReader(self._client, self._session, lambda: where)
        return lambda at, validator: reader.open(at, None, validator=validator)


class _Transfer:
    """One file on its way. `validator` is None if the file cannot be resumed."""

    def __init__(
        self, url: str, target: BinaryIO, count: Callable[[int], None], most_bytes: int
    ) -> None:
        self._url, self._target, self._count, self._most_bytes = url, target, count, most_bytes
        self._at, self._digest = 0, hashlib.sha256()
        self.validator: str | None = None

    def resumed_at(self) -> int:
        """Where to go on."""
        if self.validator is None:
            self._restart()
        return self._at

    def take(self, stream: Stream) -> str:
        """Reads the stream to its end; returns the file's sha256. Raises TransientError."""
        if stream.start != self._at:
            self._restart()
        self.validator = stream.validator
        self._require_small(stream.size or 0)
        while chunk := stream.read(COPY_BYTES):
            end_if_interrupted()
            self._require_small(self._at + len(chunk))
            self._count(len(chunk))
            self._target.write(chunk)
            self._digest.update(chunk)
            self._at += len(chunk)
        if stream.size not in (None, self._at):
            raise TransientError(
                f"{shown(self._url)} could not be read: the connection ended after "
                f"{self._at} of {stream.size} bytes",
                remedy=_NEXT,
            )
        return self._digest.hexdigest()

    def _restart(self) -> None:
        self._count(-self._at)
        self._target.seek(0)
        self._target.truncate()
        self._at, self._digest = 0, hashlib.sha256()

    def _require_small(self, size_bytes: int) -> None:
        if size_bytes > self._most_bytes:
            raise InvalidInputError(
                f"{shown(self._url)} is larger than {readable_size(self._most_bytes)}, the most "
                f"that {FILE_MB} of this worker allows"
            )


def shown(url: str) -> str:
    """The URL for messages: short, and without its query, which may be a signature."""
    return in_one_line(url.partition("#")[0].partition("?")[0])


def _refuse_page(stream: Stream, url: str, name: str) -> None:
    kind = str(getattr(stream, "headers", {}).get("Content-Type", "")).partition(";")[0]
    if kind.strip().lower() == "text/html" and not name.lower().endswith(_PAGES):
        raise UnavailableError(
            f"{shown(url)} answers with a web page in place of a file",
            remedy="Use the address of the file itself.",
        )
