"""The files of a folder on the Hugging Face Hub, with what the Hub tells about each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, Field, TypeAdapter
from requests.utils import parse_header_links

from comfy_errors import InvalidInputError
from comfy_http.asking import Answer
from comfy_models.model_file import Pin
from comfy_models.sources.errors import GoneError, NotAModelError
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.hub.api import BRANCH, Hub
from comfy_models.sources.hub_address import HubAddress
from comfy_models.sources.source import HostFile

# A thousand files each.
_MOST_PAGES = 100
_TREE_PATH = re.compile(r"api/(?:models|datasets|spaces)/\S+")


@dataclass(frozen=True, kw_only=True)
class FolderFile:
    """`path` is relative to the folder, `url` names the file by itself."""

    path: str
    url: str
    told: HostFile


class _Lfs(BaseModel):
    oid: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Entry(BaseModel):
    type: Literal["file", "directory"]
    path: str
    oid: str = Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")
    size: int = Field(ge=0, lt=2**63)
    lfs: _Lfs | None = None


class _Revision(BaseModel):
    sha: str = Field(pattern=r"^[0-9a-f]{40}$")


_ENTRIES = TypeAdapter(list[_Entry])


def hub_folder(address: HubAddress, hosts: Hosts) -> list[FolderFile]:
    """The files below a folder in its present commit, by path. Nothing is downloaded.

    Raises AccessDeniedError, GoneError, NotAModelError, TransientError, UnavailableError.
    """
    hub = Hub(hosts.asking)

    def asked(path: str) -> Answer:
        return hosts.answer(lambda: hub.ask(path, address), url=hub.endpoint)

    name = f"api/{address.kind}/{address.repo}"
    revision = quote(address.revision or BRANCH, safe="")
    try:
        commit = _Revision.model_validate_json(asked(f"{name}/revision/{revision}").body).sha
        path: str | None = f"{name}/tree/{commit}/{quote(address.path)}?recursive=true"
        files: list[FolderFile] = []
        for _ in range(_MOST_PAGES):
            if path is None:
                break
            page = asked(path)
            entries = _ENTRIES.validate_json(page.body)
            files += [_file(address, commit, it) for it in entries if it.type == "file"]
            path = _next(page)
    except ValueError as error:
        raise NotAModelError(
            f"{hub.endpoint} does not list the files of {address.url} as the Hugging Face Hub does",
            remedy="Check HF_ENDPOINT, and the proxy of this machine.",
        ) from error
    if path is not None:
        raise InvalidInputError(
            f"{address.url} has more than {_MOST_PAGES * 1000:,} files",
            remedy="Name a folder with fewer files.",
        )
    if not files:
        raise GoneError(f"{address.url} has no files", remedy="Correct 'source' in the spec.")
    return sorted(files, key=lambda file: file.path)


def _file(address: HubAddress, commit: str, entry: _Entry) -> FolderFile:
    """Raises ValueError for a file that is not below the folder."""
    file = address.file(entry.path)
    sha256 = entry.lfs.oid if entry.lfs else None
    return FolderFile(
        path=entry.path.removeprefix(f"{address.path}/") if address.path else entry.path,
        url=file.url,
        told=HostFile(
            size=entry.size,
            sha256=sha256,
            pin=Pin(commit=commit, etag=sha256 or entry.oid),
            name=file.name,
        ),
    )


def _next(page: Answer) -> str | None:
    """The path of the next page. Mirrors may give the address that the Hub has for it."""
    link = parse_header_links(page.headers.get("Link", ""))
    url = next((it.get("url", "") for it in link if it.get("rel") == "next"), None)
    if url is None:
        return None
    found = _TREE_PATH.search(url)
    if found is None:
        raise ValueError("it is not the address of a list of files")
    return found[0]
