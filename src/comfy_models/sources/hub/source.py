"""A file on the Hugging Face Hub, pinned by its commit and its entity tag.

That tag is the sha256 of the file where it lies in LFS or Xet, and Git's name for it elsewhere. The
file itself comes from a signed address on another host, which may change from one request to the
next while the bytes stay the same.
"""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import quote, unquote, urlsplit

from comfy_http.asking import Answer
from comfy_http.ranges import HttpStream, Location, RangeReader, size_in
from comfy_models.model_file import Pin
from comfy_models.sources.errors import ChangedError, NotAModelError
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.hub.api import BRANCH, Hub
from comfy_models.sources.hub_address import HubAddress, parse_hub_address
from comfy_models.sources.source import HostFile

COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
_ETAG = re.compile(r'(?:W/)?"?([\w.:+=-]{1,200})"?')
# Where a request about a file has been answered, also below the path of a mirror.
_REPO = re.compile(r".*?/(?:api/resolve-cache/\w+/)?([^/]+/[^/]+)/(?:resolve/|[0-9a-f]{40}/)")


class HubSource:
    """A file on the Hub, at the commit of `pin` or else at the revision of `address`.

    Raises ValueError for the address of a folder.
    """

    def __init__(self, address: HubAddress, hosts: Hosts, pin: Pin | None) -> None:
        if address.is_folder:
            raise ValueError("names a folder, not a file")
        self._address, self._hosts = address, hosts
        self._pin = pin or Pin()
        self._hub = Hub(hosts)
        revision = quote(self._pin.commit or address.revision or BRANCH, safe="")
        self._path = f"{address.repo_path}/resolve/{revision}/{quote(address.path)}"
        self._told: HostFile | None = None
        self._reader = RangeReader(hosts.client, hosts.session, self._locate)

    def pin(self) -> HostFile:
        return self._hosts.answer(lambda: self._find()[0], url=self._hub.endpoint)

    def open(self, start: int, end: int | None, *, validator: str | None = None) -> HttpStream:
        # Without If-Range: each host behind the Hub has entity tags of its own.
        stream = self._reader.open(start, end)
        told = self._told or HostFile()
        if validator not in (None, told.pin.etag):
            stream.close()
            stream = self._reader.open(0, None)
        if stream.size is not None and told.size not in (None, stream.size):
            stream.close()
            raise ChangedError(
                f"{self._address.url} has {stream.size} bytes, but the Hub promises {told.size}",
                remedy="Try again later, or add a mirror.",
            )
        stream.validator = told.pin.etag
        return stream

    def _locate(self) -> Location:
        self._told, location = self._find()
        return location

    def _find(self) -> tuple[HostFile, Location]:
        """What the Hub says about the file, and where it is."""
        answer = self._hub.ask(self._path, self._address, method="HEAD")
        told = self._checked(answer)
        if answer.leads_to is None:
            path = answer.url.removeprefix(f"{self._hub.endpoint}/")
            return told, self._hub.location(path, self._address)
        return told, Location(url=answer.leads_to, uses_netrc=False, name=self._address.url)

    def _checked(self, answer: Answer) -> HostFile:
        commit = answer.headers.get("X-Repo-Commit", "")
        tag = answer.headers.get("X-Linked-Etag") or answer.headers.get("ETag", "")
        etag = _ETAG.fullmatch(tag)
        if not COMMIT.fullmatch(commit) or etag is None:
            raise NotAModelError(
                f"{self._hub.endpoint} does not answer as the Hugging Face Hub does",
                remedy="Check HF_ENDPOINT, and the proxy of this machine.",
            )
        pin = self._pin
        if (pin.commit or commit) != commit or (pin.etag or etag[1]) != etag[1]:
            raise ChangedError(
                f"{self._address.url} is not the file that was pinned any more: it has the tag "
                f"{etag[1]}, not {pin.etag}",
                remedy="Resolve the version again.",
            )
        # The length of a redirect is not that of the file.
        length = answer.headers.get("X-Linked-Size") or (
            None if answer.leads_to else answer.headers.get("Content-Length")
        )
        return HostFile(
            size=size_in(length),
            sha256=etag[1] if SHA256.fullmatch(etag[1]) else None,
            pin=Pin(commit=commit, etag=etag[1]),
            name=self._address.name,
            moved_to=self._moved_to(answer),
        )

    def _moved_to(self, answer: Answer) -> str | None:
        found = _REPO.match(unquote(urlsplit(answer.url).path))
        if found is None or found[1] == self._address.repo:
            return None
        moved = replace(self._address, repo=found[1])
        try:
            return parse_hub_address(moved.url).url
        except ValueError:
            return None
