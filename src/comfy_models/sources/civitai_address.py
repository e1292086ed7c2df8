"""Names of files on Civitai: `civitai://`, addresses of its pages and downloads, and AIR names.

The form of AIR names is in Civitai's wiki ("AIR - Uniform Resource Names for AI").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

_HOSTS = ("civitai.com", "www.civitai.com", "civitai.red", "www.civitai.red")
_VERSION_PATHS = (
    re.compile(r"/api/download/models/([0-9]+)/?"),
    re.compile(r"/api/v1/model-versions/(?:mini/)?([0-9]+)/?"),
    re.compile(r"/model-versions/([0-9]+)/?"),
)
_MODEL_PAGE = re.compile(r"/models/[0-9]+(?:/[^/]*)?/?")
_AIR = re.compile(
    r"urn:air:[\w/-]+:[\w/-]+:(?P<source>[\w/-]+):(?P<id>[\w/.-]+?)"
    r"(?:@(?P<version>[\w/-]+))?(?:\+(?P<file>\w+))?(?:\.(?P<format>\w+))?",
    re.IGNORECASE,
)
# What a download address may ask of the file, if it does not name one by its id.
_TRAITS = ("type", "format", "size", "fp")
# The ids are 32-bit integers of the site's database.
_ID = re.compile(r"[1-9][0-9]{0,9}")
_FORM = "'civitai://VERSION_ID', or 'civitai://VERSION_ID?file=FILE_ID' for one of several files"
_VERSION_HELP = (
    "open the version on the page and copy its address, which ends in '?modelVersionId=…', or "
    f"write {_FORM}"
)


@dataclass(frozen=True, kw_only=True)
class CivitaiAddress:
    """A file of a model's version on Civitai.

    Without `file_id` it is the version's primary file, or the one that has `traits`: the values of
    `type`, `format`, `size` and `fp` in a download address, such as `{"format": "SafeTensor"}`.
    """

    version_id: int
    file_id: int | None = None
    traits: Mapping[str, str] = field(default_factory=dict)


def is_civitai_address(url: str) -> bool:
    """Whether `url` is a `civitai://` address, an AIR name, or an address of the site."""
    scheme, is_url, rest = url.partition(":")
    scheme = scheme.lower()
    host = rest.removeprefix("//").partition("/")[0].lower()
    is_page = scheme in ("http", "https") and rest.startswith("//") and host in _HOSTS
    return bool(is_url) and (scheme in ("civitai", "urn") or is_page)


def parse_civitai_address(url: str) -> CivitaiAddress:
    """The file that `url` names, for which `is_civitai_address` holds.

    Raises ValueError with the end of a sentence that starts with the address.
    """
    scheme = url.partition(":")[0].lower()
    rest = url.removeprefix("civitai://") if scheme == "civitai" else url
    if rest.lower().startswith("urn:"):
        return _parse_air(rest)
    if scheme == "civitai":
        return _parse_short(url)
    parts = urlsplit(url)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    file_id = _id_in(query.get("fileId"), "the file's id")
    traits = {key: query[key] for key in _TRAITS if key in query}
    for pattern in _VERSION_PATHS:
        if match := pattern.fullmatch(parts.path):
            version_id = _id_of(match[1], "the version's id")
            return CivitaiAddress(version_id=version_id, file_id=file_id, traits=traits)
    if not _MODEL_PAGE.fullmatch(parts.path):
        raise ValueError(f"is not the page of a model on Civitai; write {_FORM}")
    if "modelVersionId" not in query:
        raise ValueError(f"does not say which version of the model: {_VERSION_HELP}")
    return CivitaiAddress(
        version_id=_id_of(query["modelVersionId"], "the version's id"),
        file_id=file_id,
    )


def _parse_short(url: str) -> CivitaiAddress:
    version, is_more, query = url.partition("://")[2].partition("?")
    key, _, file = query.partition("=")
    if is_more and key != "file":
        raise ValueError(f"must be written as {_FORM}")
    return CivitaiAddress(
        version_id=_id_of(version, "the version's id"),
        file_id=_id_of(file, "the file's id") if is_more else None,
    )


def _parse_air(urn: str) -> CivitaiAddress:
    match = _AIR.fullmatch(urn)
    if match is None:
        raise ValueError(
            "is not an AIR name: it must be 'urn:air:ECOSYSTEM:TYPE:civitai:MODEL_ID@VERSION_ID'"
        )
    source = match["source"].lower()
    if source == "huggingface":
        raise ValueError(
            "names a repository of the Hub and not a file: write 'hf://ORGANISATION/NAME/FILE'"
        )
    if source != "civitai":
        raise ValueError(f"is of '{source}'; AIR names of civitai can be used")
    if match["version"] is None:
        raise ValueError(f"does not say which version of the model: {_VERSION_HELP}")
    _id_of(match["id"], "the model's id")
    return CivitaiAddress(
        version_id=_id_of(match["version"], "the version's id"),
        file_id=_id_in(match["file"], "the file's id"),
        traits={"format": match["format"]} if match["format"] else {},
    )


def _id_in(text: str | None, what: str) -> int | None:
    return None if text is None else _id_of(text, what)


def _id_of(text: str, what: str) -> int:
    if not _ID.fullmatch(text):
        raise ValueError(f"must have a number as {what}, not '{text}': write {_FORM}")
    return int(text)
