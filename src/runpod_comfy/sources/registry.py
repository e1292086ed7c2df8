"""A node of the Comfy Registry as a tree: its pin is the sha256 of its archive.

The registry publishes no hash, so ours is that of the first download; every later download is
compared with it. The archive is extracted as it is, as ComfyUI-Manager does. Answers
(https://docs.comfy.org/registry/api-reference/overview) are untrusted: an archive is only
downloaded from a URL that is safe.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.json_faults import faults_in_words
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.tree import FetchContext, TreeRequest
from runpod_comfy.sources.archive import ArchiveSource
from runpod_comfy.sources.index.pip_settings import web_client
from runpod_comfy.sources.pypi import newest_and_neighbours, version_order

_DEFAULT_URL = "https://api.comfy.org"
_LARGEST_ANSWER_BYTES = 64 * 1024**2
_CHUNK_BYTES = 64 * 1024
_REMEDY = "Check the network and the proxy, or set COMFY_REGISTRY_URL to a mirror."
_ACTIVE = "NodeVersionStatusActive"
# Versions that are only used if they are requested explicitly.
_WITHHELD = ("NodeVersionStatusBanned", "NodeVersionStatusDeleted")
_WARNINGS = {
    "NodeVersionStatusFlagged": "is flagged by the registry's security scan",
    "NodeVersionStatusPending": "has not passed the registry's security scan yet",
    "NodeVersionStatusBanned": "is banned by the registry, which bans harmful versions",
    "NodeVersionStatusDeleted": "was deleted by its author",
}


class RegistrySource(ArchiveSource):
    """The TreeSource of `comfy://node`."""

    top_folder = "kept"

    def open_ref(self, repo: str, fetch_context: FetchContext) -> str:
        fetch_context.need_network(f"the versions of {repo} cannot be looked up offline")
        return Registry.from_environment().newest_of(repo.removeprefix("comfy://")).version

    def url_of(self, request: TreeRequest, fetch_context: FetchContext) -> str:
        node, registry = request.repo.removeprefix("comfy://"), Registry.from_environment()
        found = registry.version_of(node, request.version)
        for concern in found.concerns:
            fetch_context.say(f"Warning: {request.title} {concern}")
        return registry.archive_url(node, found)


class NodeVersion(BaseModel):
    """One version of a node, with the registry's fields that are used here."""

    model_config = ConfigDict(frozen=True, strict=True)

    version: str
    download_url: str | None = Field(default=None, alias="downloadUrl")
    status: str | None = None
    deprecated: bool | None = None

    @property
    def concerns(self) -> list[str]:
        """What a user should know before using this version, as ends of sentences."""
        concerns = [_WARNINGS[self.status]] if self.status in _WARNINGS else []
        return concerns + ["is deprecated by its author"] * bool(self.deprecated)


_Answer = TypeVar("_Answer")
_VERSION, _VERSIONS = TypeAdapter(NodeVersion), TypeAdapter(list[NodeVersion])


@dataclass(frozen=True, kw_only=True)
class Registry:
    """The registry at `url`."""

    url: str

    @classmethod
    def from_environment(cls) -> Registry:
        """The registry at COMFY_REGISTRY_URL, or the public one."""
        url = (os.environ.get("COMFY_REGISTRY_URL") or _DEFAULT_URL).rstrip("/")
        if not re.match(r"https?://[^/]", url):
            raise InvalidInputError(
                f"COMFY_REGISTRY_URL is {without_secrets(url)!r}, which is not an HTTP URL",
                remedy=f"Unset it, or use a URL such as {_DEFAULT_URL}.",
            )
        return cls(url=url)

    def version_of(self, node: str, version: str) -> NodeVersion:
        """The version to install. Raises UnavailableError naming the existing versions."""
        query = f"/install?version={quote(version, safe='')}"
        # 400 is for versions that are not three numbers, which the list may still have.
        answer = self._ask(node, query, _VERSION, missing=(400, 404))
        if answer is not None and answer.version == version and answer.download_url:
            return answer
        versions = self.versions_of(node)
        listed = next((item for item in versions if item.version == version), None)
        if listed is None:
            raise UnavailableError(
                f"comfy://{node} has no version {version}",
                remedy=_in_words(version, versions) or "It has no versions.",
            )
        if not listed.download_url:
            raise UnavailableError(
                f"the registry has no archive of comfy://{node}@{version}",
                remedy=_in_words(version, [item for item in versions if item.download_url])
                or "Use its git repository.",
            )
        return listed

    def newest_of(self, node: str) -> NodeVersion:
        """The newest version without concerns, or the newest one if all have some.

        Not left to the registry, which sorts versions as text.
        """
        versions = [item for item in self.versions_of(node) if item.download_url]
        offered = [item for item in versions if item.status not in _WITHHELD]
        active = [item for item in offered if item.status in (None, _ACTIVE)]
        final = [item for item in active if not version_order(item.version)[0].is_prerelease]
        current = [item for item in final if not item.deprecated]
        chosen = current or final or active or offered
        if not chosen:
            raise UnavailableError(
                f"the registry offers no version of comfy://{node}",
                remedy=_in_words("", versions) or "Use its git repository.",
            )
        return max(chosen, key=lambda item: version_order(item.version))

    def versions_of(self, node: str) -> list[NodeVersion]:
        """Every version, whatever its status. Raises UnavailableError for an unknown node."""
        versions = self._ask(node, "/versions", _VERSIONS, missing=(404,))
        if versions is None:
            raise UnavailableError(
                f"the registry {without_secrets(self.url)} has no node '{node}'",
                remedy="Look up its id on https://registry.comfy.org, or use its git repository.",
            )
        return versions

    def archive_url(self, node: str, found: NodeVersion) -> str:
        """The archive's URL. Raises UnavailableError for a URL that is not allowed."""
        url = found.download_url or ""
        try:
            theirs, ours = urlsplit(url), urlsplit(self.url)
        except ValueError:
            theirs = ours = urlsplit("")
        # https, or the registry itself.
        safe = theirs.scheme == "https" or theirs[:2] == ours[:2]
        if not safe or not theirs.hostname or "@" in theirs.netloc:
            raise UnavailableError(
                f"the registry names {without_secrets(url)!a} as the archive of "
                f"comfy://{node}@{found.version}, which is not an https URL",
                remedy="Use another version of it, or its git repository.",
            )
        return url

    def _ask(
        self, node: str, query: str, shape: TypeAdapter[_Answer], *, missing: tuple[int, ...]
    ) -> _Answer | None:
        """The registry's answer; None for a status of `missing`."""
        # Imported late: a cached node needs no network.
        import requests

        url = f"{self.url}/nodes/{quote(node, safe='')}{query}"
        client, shown = web_client(remedy=_REMEDY), without_secrets(url)
        try:
            with (
                client.session() as session,
                client.send(
                    session, "GET", url, stream=True, headers={"Accept": "application/json"}
                ) as response,
            ):
                if response.status_code in missing:
                    return None
                if response.status_code == 403:
                    raise UnavailableError(
                        f"the registry refuses {shown}: the node, or its publisher, is banned",
                        remedy="Do not use it unless you know why it was banned; in that case "
                        "use its git repository.",
                    )
                response.raise_for_status()
                text = b""
                for chunk in response.iter_content(_CHUNK_BYTES):
                    text += chunk
                    if len(text) > _LARGEST_ANSWER_BYTES:
                        raise UnavailableError(
                            f"{shown} answered with more than {_LARGEST_ANSWER_BYTES:,} bytes",
                            remedy=_REMEDY,
                        )
        except requests.RequestException as error:
            raise client.unreachable(url, error) from error
        try:
            return shape.validate_json(text)
        except ValidationError as error:
            raise UnavailableError(
                f"{shown} did not answer as the Comfy Registry does: {faults_in_words(error)}",
                remedy=_REMEDY,
            ) from error


def _in_words(wanted: str, versions: list[NodeVersion]) -> str:
    """One sentence with the newest versions and those closest to `wanted`; "" if there are none."""
    active = [item for item in versions if item.status in (None, _ACTIVE)]
    return newest_and_neighbours(wanted, [item.version for item in active or versions])
