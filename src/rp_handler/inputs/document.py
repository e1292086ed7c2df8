"""`images` and `files` of a job's input, and what can be checked without fetching them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from comfy_errors import InvalidInputError
from comfy_http.redaction import in_one_line
from comfy_models.sources.buckets.address import BUCKET_SCHEMES, bucket_and_key
from rp_handler.inputs.names import fault_of_name, is_text

_WEB_SCHEMES = ("http", "https")
_KNOWN = "http://, https://, gs://, s3:// and data:"
_ADDRESS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_BUCKET = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,221}")
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")
_LONGEST_ADDRESS, _LONGEST_HOST = 8192, 253
# Of both kinds of buckets.
_LONGEST_KEY_BYTES = 1024
_MOST_FILES = 1000


def is_address(value: str) -> bool:
    """True for a URL of a host, false for base64 and data URIs."""
    return _ADDRESS.match(value) is not None


def scheme_of(address: str) -> str:
    return address.partition("://")[0].lower()


def _name(value: str) -> str:
    if fault := fault_of_name(value):
        raise ValueError(fault)
    return value


def checked_address(value: str) -> str:
    """Raises ValueError unless the URL has a form that a host may answer."""
    if value[:5].lower() == "data:":
        return value
    if not is_address(value):
        raise ValueError(f"is not a URL; it may start with {_KNOWN}")
    if len(value) > _LONGEST_ADDRESS:
        raise ValueError(f"is a URL of more than {_LONGEST_ADDRESS} characters")
    if not is_text(value):
        raise ValueError("has a control character or half a character in its URL")
    scheme = scheme_of(value)
    if scheme in BUCKET_SCHEMES:
        bucket, key = bucket_and_key(value)
        if not _BUCKET.fullmatch(bucket) or not 0 < len(key.encode()) <= _LONGEST_KEY_BYTES:
            raise ValueError(f"must be {scheme}://BUCKET/FILE")
        return f"{scheme}{value[len(scheme) :]}"
    if scheme not in _WEB_SCHEMES:
        raise ValueError(f"starts with {scheme[:20]}://; it may start with {_KNOWN}")
    _require_host(value)
    return value


def _require_host(url: str) -> None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018
    except ValueError:
        raise ValueError("is not a valid URL") from None
    if not 0 < len(parts.hostname or "") <= _LONGEST_HOST or "\\" in url:
        raise ValueError("is not a valid URL")
    if "@" in parts.netloc:
        raise ValueError("has a login in its URL, which is not used; sign the URL instead")


def _content(value: str) -> str:
    return checked_address(value) if is_address(value) else value


def sha256_digits(value: str) -> str:
    """The 64 hex digits of a stated sha256, in lower case. Raises ValueError."""
    found = _SHA256.fullmatch(value)
    if found is None:
        raise ValueError("must be 64 hex digits")
    return found[1].lower()


_Name = Annotated[str, AfterValidator(_name)]


class JobImage(BaseModel):
    """`image` is base64, a data URI, or the URL of a file, not only of an image."""

    model_config = ConfigDict(strict=True, frozen=True, hide_input_in_errors=True)

    name: _Name
    image: Annotated[str, AfterValidator(_content)]


class JobFile(BaseModel):
    """`sha256` has 64 hex digits."""

    model_config = ConfigDict(strict=True, frozen=True, hide_input_in_errors=True)

    name: _Name
    url: Annotated[str, AfterValidator(checked_address)]
    sha256: Annotated[str, AfterValidator(sha256_digits)] | None = None


class JobInputs(BaseModel):
    """The files of a job; null is the same as none."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)

    images: list[JobImage] | None = Field(default=None, max_length=_MOST_FILES)
    files: list[JobFile] | None = Field(default=None, max_length=_MOST_FILES)

    def entries(self) -> list[Entry]:
        """All of them, each name once. Raises InvalidInputError if two files have one name, or one
        has the name of another's folder.
        """
        found: dict[str, Entry] = {}
        for entry in self._all():
            known = found.setdefault(entry.name, entry)
            if (known.content, known.sha256) != (entry.content, entry.sha256):
                raise _clash(entry, known, "the name of another file")
        for entry in found.values():
            at = entry.name.find("/")
            while at >= 0:
                if (other := found.get(entry.name[:at])) is not None:
                    raise _clash(other, entry, "the folder of a file")
                at = entry.name.find("/", at + 1)
        return list(found.values())

    def _all(self) -> Iterator[Entry]:
        for number, image in enumerate(self.images or ()):
            place = f"images[{number}]"
            yield Entry(place=place, key="image", name=image.name, content=image.image)
        for number, file in enumerate(self.files or ()):
            place, sha256 = f"files[{number}]", file.sha256
            yield Entry(place=place, key="url", name=file.name, content=file.url, sha256=sha256)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a job: `place` is where it stands in the job's input, `content` what it has
    there, in `key`.
    """

    place: str
    key: str
    name: str
    content: str
    sha256: str | None = None

    @property
    def field(self) -> str:
        """`images[2].image`"""
        return f"{self.place}.{self.key}"


def _clash(entry: Entry, other: Entry, what: str) -> InvalidInputError:
    name = in_one_line(entry.name)
    return InvalidInputError(
        f'The job\'s input cannot be used: {entry.place}.name "{name}" is also {what}, '
        f"{other.place}.",
        remedy="Give each file a name of its own.",
    )
