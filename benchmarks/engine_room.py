"""What a benchmark leaves on a Docker engine, removed: images, and the cache of their builds."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import docker
import docker.errors

Records = Mapping[str, Mapping[str, Any]]

_TRIES, _BETWEEN_S = 5, 2.0
_PACKAGES = "exec.cachemount"
"""The kind of record that a `RUN --mount=type=cache` makes."""


@dataclass(frozen=True, kw_only=True)
class EngineRoom:
    """An engine, the repository that a benchmark tags its images in, and what the cache of builds
    had before it.

    `made` are the ids of images that have lost their tag to a later one.
    """

    client: docker.DockerClient
    repository: str
    before: Records
    made: set[str] = field(default_factory=set)

    def clear(self, *, keep_packages: bool = False) -> None:
        """Removes the images of the repository, and what came into the cache of builds since.

        `keep_packages` leaves what builds downloaded.
        """
        tagged = {str(image.id) for image in self.client.images.list(name=self.repository)}
        for image in tagged | self.made:
            with contextlib.suppress(docker.errors.APIError):
                self.client.images.remove(image, force=True)
        self.made.clear()
        # A record goes after those that stand on it, and what an interrupted push reads from stays
        # for a moment.
        for _ in range(_TRIES):
            while self._prune(self._spare(keep_packages=keep_packages)):
                pass
            if not _records(self.client).keys() - self.before.keys():
                break
            time.sleep(_BETWEEN_S)

    def _spare(self, *, keep_packages: bool) -> list[str]:
        return spare(self.before, _records(self.client), keep_packages=keep_packages)

    def _prune(self, names: Sequence[str]) -> int:
        """How many of these records it could remove."""
        api = self.client.api
        removed = 0
        for name in names:
            parameters = {"filters": json.dumps({"id": [name]}), "all": "1"}
            url = f"{api.base_url}/v{api.api_version}/build/prune"
            removed += len(api.post(url, params=parameters).json().get("CachesDeleted") or [])
        return removed


@contextlib.contextmanager
def engine_room(client: docker.DockerClient, repository: str) -> Iterator[EngineRoom]:
    """It is cleared in the end."""
    room = EngineRoom(client=client, repository=repository, before=_records(client))
    try:
        yield room
    finally:
        room.clear()


def spare(before: Records, now: Records, *, keep_packages: bool = False) -> list[str]:
    """The records that are new, and that no build and no image of anybody uses."""
    return [
        name
        for name, record in now.items()
        if name not in before
        and not record["InUse"]
        and not record["Shared"]
        and not (keep_packages and record["Type"] == _PACKAGES)
    ]


def _records(client: docker.DockerClient) -> Records:
    return {record["ID"]: record for record in client.df()["BuildCache"] or []}
