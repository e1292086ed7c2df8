"""Requests to the Hugging Face Hub, and clear errors where it refuses them.

What it answers is written down only in its client: `file_download.py` and `utils/_http.py` of
huggingface_hub 2.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from comfy_errors import ComfyError
from comfy_http.asking import Answer, ask
from comfy_http.errors import StatusError
from comfy_http.ranges import Location
from comfy_models.sources.errors import AccessDeniedError, GoneError
from comfy_models.sources.hosts import Hosts, endpoint_of, plain_token
from comfy_models.sources.hub_address import HUB, HubAddress

BRANCH = "main"
"""The revision of an address that names none."""

_TOKENS = "https://huggingface.co/settings/tokens"


class Hub:
    """The Hub, or the mirror of it that HF_ENDPOINT names, as its user with the token of HF_TOKEN
    or of `hf auth login`.
    """

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self.endpoint = endpoint_of(hosts.variables, "HF_ENDPOINT", HUB)
        self._token, self._token_place = _token(hosts.variables)

    def location(self, path: str, address: HubAddress) -> Location:
        """Where the Hub has `path` of `address`, with the token: also for public files, whose
        limits depend on it.
        """
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return Location(
            url=f"{self.endpoint}/{path}", headers=headers, uses_netrc=False, name=address.url
        )

    def ask(self, path: str, address: HubAddress, *, method: str = "GET") -> Answer:
        """The Hub's answer. Raises AccessDeniedError, GoneError, TransientError, UnavailableError
        with the reason why it has none for `address`.
        """
        try:
            location = self.location(path, address)
            return ask(self._hosts.client, self._hosts.session, location, method=method)
        except StatusError as error:
            raise self._refusal(error, address) from error

    def _refusal(self, error: StatusError, address: HubAddress) -> ComfyError:
        repo = address.repo_path
        code = error.headers.get("X-Error-Code", "")
        told = error.headers.get("X-Error-Message", "")
        if code == "EntryNotFound":
            return GoneError(
                f"{repo} on the Hugging Face Hub has no {address.path} at "
                f"{address.revision or BRANCH}",
                remedy=_correct(repo),
            )
        if code == "RevisionNotFound":
            return GoneError(
                f"{repo} on the Hugging Face Hub has no revision {address.revision}",
                remedy=_correct(repo),
            )
        if told == "Access to this resource is disabled.":
            return GoneError(f"the Hugging Face Hub has disabled {repo}", remedy=_correct(repo))
        if code == "GatedRepo":
            return self._gated(repo)
        if told == "Invalid credentials in Authorization header":
            return AccessDeniedError(
                f"the Hugging Face Hub does not accept the token of {self._token_place}",
                remedy=f"Replace it with a valid one from {_TOKENS}, or remove it.",
            )
        if code == "RepoNotFound" or error.status == 401:
            return self._not_found(repo)
        if error.status == 403:
            return AccessDeniedError(
                f"the Hugging Face Hub refuses {repo} to the token of {self._token_place}",
                remedy=f"Give the token the right to read it: {_TOKENS}.",
            )
        return error

    def _gated(self, repo: str) -> AccessDeniedError:
        page = f"{HUB}/{repo}"
        if self._token:
            return AccessDeniedError(
                f"{repo} on the Hugging Face Hub is gated, and the account of the token of "
                f"{self._token_place} has no access",
                remedy=f"Ask for access at {page} with that account.",
            )
        return AccessDeniedError(
            f"{repo} on the Hugging Face Hub is gated",
            remedy=f"Ask for access at {page}, then set HF_TOKEN to a token from {_TOKENS}.",
        )

    def _not_found(self, repo: str) -> ComfyError:
        # The Hub does not tell who lacks access which repositories exist.
        if self._token:
            return GoneError(
                f"the Hugging Face Hub has no {repo}, or the account of the token of "
                f"{self._token_place} may not see it",
                remedy=_correct(repo),
            )
        return AccessDeniedError(
            f"the Hugging Face Hub has no {repo}, or it is private",
            remedy=f"Correct 'source' in the spec, or set HF_TOKEN to a token from {_TOKENS}.",
        )


def _token(variables: Mapping[str, str]) -> tuple[str | None, str]:
    """The token, and the variable or file that has it."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := plain_token(variables.get(name, ""), name):
            return token, name
    home = Path(variables.get("HOME") or Path.home())
    caches = Path(variables.get("XDG_CACHE_HOME") or home / ".cache")
    folder = Path(variables.get("HF_HOME") or caches / "huggingface")
    file = Path(variables.get("HF_TOKEN_PATH") or folder / "token")
    try:
        token = file.expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError):
        return None, "HF_TOKEN"
    return plain_token(token, str(file)) or None, str(file)


def _correct(repo: str) -> str:
    return f"Look at {HUB}/{repo} and correct 'source' in the spec, or add a mirror."
