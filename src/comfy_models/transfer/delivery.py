"""One model: from its sources, in their order, to its place."""

from __future__ import annotations

import os

from comfy_errors import ComfyError, MismatchError, together
from comfy_files.progress import Progress, Say
from comfy_http.redaction import without_secrets
from comfy_http.retries import Backoff
from comfy_models.model_file import ModelFile, ModelSource
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.kinds import source_for
from comfy_models.transfer.claim import claimed
from comfy_models.transfer.connections import Connections, StartOverError
from comfy_models.transfer.following_hash import FollowingHash
from comfy_models.transfer.journal import Form
from comfy_models.transfer.partial import PART_BYTES, PartialFile
from comfy_models.transfer.place import Place

_CONNECTIONS = 8
_FRESH_STARTS = 3


class _WrongSha256Error(MismatchError):
    """The bytes are complete and not those of the model."""


class Delivery:
    """Brings `model` to `place`."""

    def __init__(
        self, model: ModelFile, place: Place, hosts: Hosts, *, say: Say, progress: Progress
    ) -> None:
        self._model, self._place, self._hosts = model, place, hosts
        self._say, self._progress = say, progress

    def run(self) -> None:
        """Raises one error for all sources that did not give the model."""
        title = self._model.target_path
        form = Form(size_bytes=self._model.size, part_bytes=PART_BYTES)
        with claimed(self._place, title=title, say=self._say) as descriptor:
            partial = PartialFile(self._place, descriptor, form)
            try:
                if self._place.final.exists():
                    partial.remove()
                    return
                self._count(partial.received_bytes)
                self._hashing = FollowingHash(partial)
                try:
                    self._from_any(partial)
                finally:
                    self._hashing.stop()
                os.fsync(descriptor)
                self._place.put()
                partial.remove()
            finally:
                partial.close()

    def _from_any(self, partial: PartialFile) -> None:
        faults: list[ComfyError] = []
        wrong: list[ModelSource] = []
        for source in self._model.sources:
            try:
                self._from(source, partial, connections=_CONNECTIONS)
                return
            except ComfyError as error:
                faults.append(error)
                if isinstance(error, _WrongSha256Error):
                    wrong.append(source)
        # Once more without anything that could have mixed bytes up.
        for source in wrong:
            try:
                self._from(source, partial, connections=1)
                return
            except ComfyError as error:
                faults.append(error)
        raise together(faults).within(f"model {self._model.target_path}")

    def _from(self, one: ModelSource, partial: PartialFile, *, connections: int) -> None:
        source = source_for(one.url, self._hosts, one.pin)
        shown = without_secrets(one.url)
        for _ in range(_FRESH_STARTS):
            try:
                Connections(
                    partial,
                    self._hashing,
                    source,
                    shown=shown,
                    at_once=connections,
                    backoff=Backoff(self._say),
                    count=self._count,
                ).run()
                break
            except StartOverError:
                connections = 1
                self._start_over(partial)
        else:
            raise MismatchError(f"{shown} changes while it is read", remedy="Try again later.")
        sha256 = self._hashing.result()
        if sha256 != self._model.sha256:
            self._start_over(partial)
            raise _WrongSha256Error(
                f"{shown} has sha256 {sha256}, but {self._model.sha256} was expected",
                remedy="Put the right file there, or resolve the version again.",
            )

    def _start_over(self, partial: PartialFile) -> None:
        self._hashing.stop()
        self._count(-partial.received_bytes)
        partial.restart()
        self._hashing = FollowingHash(partial)

    def _count(self, size_bytes: int) -> None:
        self._progress.arrived("models", size_bytes=size_bytes)
