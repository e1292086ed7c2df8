"""A partial file, its sha256, and the filling of both from one source after another."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from comfy_errors import UnavailableError
from comfy_http.redaction import without_secrets
from comfy_http.retries import Backoff
from comfy_models.formats import fault_of_file
from comfy_models.model_file import ModelSource
from comfy_models.sources.errors import NotAModelError
from comfy_models.sources.file import FileSource
from comfy_models.sources.source import Source
from comfy_models.transfer.claim import Claim
from comfy_models.transfer.connection import Origin, StartOverError
from comfy_models.transfer.connections import Connections
from comfy_models.transfer.following_hash import FollowingHash
from comfy_models.transfer.journal import Form
from comfy_models.transfer.partial import PartialFile
from comfy_models.transfer.traffic import PER_FILE, Traffic, server_of

_FRESH_STARTS = 4


class Filling:
    """Fills the `partial` file of a claim. Entered, it has what earlier processes left.

    `count` is called with the bytes that arrive, and with a negative number for lost ones.
    """

    def __init__(
        self, claim: Claim, form: Form, traffic: Traffic, count: Callable[[int], None]
    ) -> None:
        self._claim, self._traffic, self._count = claim, traffic, count
        self.partial = PartialFile(claim.place, claim.descriptor, form, claim.require)
        self._hashing = FollowingHash(self.partial)
        self._count(self.partial.received_bytes)

    def __enter__(self) -> Filling:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._hashing.stop()
        is_empty = self.partial.received_bytes == 0
        if kind is not None:
            self._count(-self.partial.received_bytes)
        self.partial.close()
        if kind is not None and is_empty and self._claim.lease.holds():
            self._claim.place.discard()

    def fill(
        self,
        one: ModelSource,
        source: Source,
        *,
        name: str,
        attempts: int,
        connections: int = PER_FILE,
        validator: str | None = None,
    ) -> str:
        """The sha256 of the file, once `source` has given all that was missing.

        Raises ComfyError if it does not, LostError, and KeyboardInterrupt if this thread's work is
        cancelled.
        """
        origin = Origin(
            source=source,
            shown=without_secrets(one.url),
            server=server_of(one.url),
            name=name,
            pauses=self._traffic.pauses,
            validator=validator,
        )
        if isinstance(source, FileSource) or self.partial.form.size_bytes is None:
            connections = 1
        reason = ""
        for _ in range(_FRESH_STARTS):
            try:
                Connections(
                    self.partial,
                    self._hashing,
                    origin,
                    at_once=connections,
                    further=self._traffic.further,
                    backoff=Backoff(attempts=attempts),
                    count=self._count,
                    check=self._claim.require,
                ).run()
                sha256 = self._hashing.result()
                self._require_model(origin)
                return sha256
            except StartOverError as error:
                reason = error.message
                if not error.ranges:
                    connections = 1
                origin.validator = None
                self.start_over()
        raise UnavailableError(f"{origin.shown} {reason}", remedy="Try again later.")

    def _require_model(self, origin: Origin) -> None:
        """Raises NotAModelError, and forgets all bytes, if the whole file is no model."""
        fault = fault_of_file(self._claim.place.partial, origin.name)
        if fault is not None:
            self.start_over()
            raise NotAModelError(
                f"{origin.shown} {fault}",
                remedy="Correct 'source' in the spec: it has to lead to the file itself.",
            )

    def start_over(self) -> None:
        """Forgets all bytes."""
        self._hashing.stop()
        self._count(-self.partial.received_bytes)
        self.partial.restart()
        self._hashing = FollowingHash(self.partial)
