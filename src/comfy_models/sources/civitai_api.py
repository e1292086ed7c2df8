"""Requests to Civitai, and clear errors where it refuses them.

What it answers: https://developer.civitai.com, and `src/pages/api` of civitai/civitai.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationError

from comfy_errors import ComfyError
from comfy_http.asking import Answer, ask
from comfy_http.errors import StatusError, TransientError
from comfy_http.ranges import Location
from comfy_http.redaction import in_one_line
from comfy_models.sources.errors import AccessDeniedError, GoneError, NotAModelError
from comfy_models.sources.hosts import Hosts, endpoint_of, plain_token

_CIVITAI = "https://civitai.com"
_ACCOUNT = "https://civitai.com/user/account"
# It answers 404 for a while when its own storage cannot be reached.
_MOST_MISSES = 3


class CivitaiFile(BaseModel):
    """A file of a version. `sizeKB` is not its size: some are rounded."""

    id: int = Field(gt=0, lt=2**63)
    name: str = Field(max_length=500)
    type: str | None = None
    primary: bool | None = None
    metadata: dict[str, object] | None = None
    hashes: dict[str, str] = Field(default_factory=dict)

    @property
    def file_name(self) -> str | None:
        """Its name, if a file here may have it."""
        is_plain = self.name.isprintable() and not re.search(r"[/\\]", self.name)
        return self.name if is_plain and self.name.strip(". ") else None

    @property
    def traits(self) -> Mapping[str, str]:
        """What an address may ask for: its type, format, size and fp."""
        return plain_traits({**(self.metadata or {}), "type": self.type})


class _Model(BaseModel):
    mode: str | None = None


class CivitaiVersion(BaseModel):
    """A version of a model, which has any number of files."""

    id: int
    model: _Model = Field(default_factory=_Model)
    files: list[CivitaiFile] = Field(default_factory=list)

    @property
    def is_archived(self) -> bool:
        return self.model.mode == "Archived"


class Civitai:
    """Civitai, or the service that CIVITAI_ENDPOINT names, as the user of CIVITAI_TOKEN."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self.endpoint = endpoint_of(hosts.variables, "CIVITAI_ENDPOINT", _CIVITAI)
        self._token = plain_token(hosts.variables.get("CIVITAI_TOKEN", ""), "CIVITAI_TOKEN")
        self._misses = 0

    def version(self, version_id: int) -> CivitaiVersion:
        """Raises GoneError, NotAModelError, TransientError, UnavailableError."""
        answer = self._ask(f"api/v1/model-versions/{version_id}", version_id)
        try:
            return CivitaiVersion.model_validate_json(answer.body)
        except ValidationError as error:
            raise NotAModelError(
                f"{self.endpoint} does not answer as Civitai does",
                remedy="Check CIVITAI_ENDPOINT, and the proxy of this machine.",
            ) from error

    def download(self, version_id: int, file_id: int) -> Location:
        """Where the file can be read for a while, without the token.

        Raises AccessDeniedError, GoneError, TransientError, UnavailableError.
        """
        path = f"api/download/models/{version_id}?fileId={file_id}"
        answer = self._ask(path, version_id)
        if answer.leads_to is None:
            # A page to log in: only other servers have files.
            raise self._denied(version_id)
        return Location(url=answer.leads_to, uses_netrc=False)

    def _ask(self, path: str, version_id: int) -> Answer:
        headers = {"User-Agent": "runpod-comfy", "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        url = f"{self.endpoint}/{path}"
        location = Location(url=url, headers=headers, uses_netrc=False, name=url)
        try:
            answer = ask(self._hosts.client, self._hosts.session, location)
        except StatusError as error:
            raise self._refusal(error, version_id) from error
        self._misses = 0
        return answer

    def _refusal(self, error: StatusError, version_id: int) -> ComfyError:
        document = _document(error.body)
        reason = in_one_line(str(document.get("message") or document.get("error") or ""))
        named = f"version {version_id} on Civitai"
        if error.status == 404:
            self._misses += 1
            if self._misses < _MOST_MISSES:
                return TransientError(error.message, remedy=error.remedy)
            hint = " Models that civitai.com does not show may be found with "
            hint += "CIVITAI_ENDPOINT=https://civitai.red."
            return GoneError(
                f"Civitai ({urlsplit(self.endpoint).hostname}) has no version {version_id}",
                remedy="Correct 'source' in the spec, or add a mirror."
                f"{hint if self.endpoint == _CIVITAI else ''}",
            )
        if error.status in (410, 451) or "disabled downloads" in reason:
            return GoneError(
                f"{named} cannot be downloaded any more: {reason or error.status}",
                remedy="Add a mirror, or use another model.",
            )
        if error.status == 403 and document.get("deadline"):
            return AccessDeniedError(
                f"{named} is in early access until {in_one_line(str(document['deadline']))}",
                remedy="Wait until then, or buy access with the account of CIVITAI_TOKEN.",
            )
        if error.status in (401, 403):
            return self._denied(version_id, reason)
        return error

    def _denied(self, version_id: int, reason: str = "") -> AccessDeniedError:
        if not self._token:
            return AccessDeniedError(
                f"version {version_id} on Civitai needs a login",
                remedy=f"Set CIVITAI_TOKEN to an API key from {_ACCOUNT}.",
            )
        return AccessDeniedError(
            f"Civitai refuses version {version_id} to the account of CIVITAI_TOKEN"
            f"{f': {reason}' if reason else ''}",
            remedy=f"Set CIVITAI_TOKEN to a valid API key from {_ACCOUNT}, of an account that may "
            "download it.",
        )


def plain_traits(traits: Mapping[str, object]) -> dict[str, str]:
    """Traits to be compared: addresses write `safetensors` for the format `SafeTensor`."""
    return {key: str(value).lower().removesuffix("s") for key, value in traits.items()}


def _document(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
