"""A file of a version on Civitai, pinned by the ids of both.

It is read from a signed address that is valid for some minutes; after that, Civitai is asked for
another one.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace

from comfy_errors import InvalidInputError
from comfy_errors.names import listed
from comfy_http.ranges import HttpStream, Location, RangeReader
from comfy_models.model_file import Pin
from comfy_models.sources.civitai_address import CivitaiAddress
from comfy_models.sources.civitai_api import Civitai, CivitaiFile, plain_traits
from comfy_models.sources.errors import ChangedError, GoneError
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.source import HostFile

_SHA256 = re.compile(r"[0-9a-f]{64}")


class CivitaiSource:
    """A file of a version: that of `pin`, that of `address`, or the version's primary one."""

    def __init__(self, address: CivitaiAddress, hosts: Hosts, pin: Pin | None) -> None:
        self._address, self._hosts = address, hosts
        self._version_id = (pin and pin.version_id) or address.version_id
        self._file_id = (pin and pin.file_id) or address.file_id
        self._civitai = Civitai(hosts)
        self._reader = RangeReader(hosts.client, hosts.session, self._locate)
        # The size and the validator of the first answer.
        self._first: tuple[int | None, str | None] | None = None

    def pin(self) -> HostFile:
        return self._hosts.answer(self._told, url=self._civitai.endpoint)

    def open(self, start: int, end: int | None, *, validator: str | None = None) -> HttpStream:
        stream = self._reader.open(start, end, validator=validator)
        self._first = size, etag = self._first or (stream.size, stream.validator)
        # With a validator, a file that has been replaced comes from its start.
        is_same = validator is not None or stream.validator == etag
        if is_same and stream.size in (None, size):
            return stream
        stream.close()
        raise ChangedError(
            f"{self._shown} has been replaced on Civitai while it was downloaded",
            remedy="Resolve the version again.",
        )

    def _told(self) -> HostFile:
        file = self._chosen()
        self._file_id = file.id
        # Civitai itself knows the size only roughly.
        with contextlib.closing(self.open(0, 1)) as stream:
            size = stream.size
        sha256 = file.hashes.get("SHA256", "").lower()
        return HostFile(
            size=size,
            sha256=sha256 if _SHA256.fullmatch(sha256) else None,
            pin=Pin(version_id=self._version_id, file_id=file.id),
            name=file.file_name,
        )

    def _locate(self) -> Location:
        if self._file_id is None:
            self._file_id = self._chosen().id
        location = self._civitai.download(self._version_id, self._file_id)
        return replace(location, name=self._shown)

    def _chosen(self) -> CivitaiFile:
        version = self._civitai.version(self._version_id)
        if version.is_archived:
            raise GoneError(
                f"{self._shown} cannot be downloaded any more: its model is archived",
                remedy="Add a mirror, or use another model.",
            )
        if self._file_id is not None:
            named = [file for file in version.files if file.id == self._file_id]
        else:
            wanted = plain_traits(self._address.traits)
            named = [file for file in version.files if wanted.items() <= file.traits.items()]
            named = [file for file in named if file.primary] or named
        if not named:
            raise GoneError(
                f"{self._shown} is not there: {_files(version.files)}",
                remedy=f"Name one of them: 'civitai://{self._version_id}?file=FILE_ID'.",
            )
        if len(named) > 1:
            raise InvalidInputError(
                f"{self._shown} may be several files: {_files(named)}",
                remedy=f"Name one of them: 'civitai://{self._version_id}?file=FILE_ID'.",
            )
        return named[0]

    @property
    def _shown(self) -> str:
        file = "" if self._file_id is None else f"?file={self._file_id}"
        return f"civitai://{self._version_id}{file}"


def _files(files: list[CivitaiFile]) -> str:
    shown = [f"{file.id} ({file.name!r})" for file in files]
    return f"the version has {listed(shown)}" if shown else "the version has no files"
