"""How the hosts of jobs' models are reached: not in this worker's own network, and with its tokens
only where they are for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from comfy_errors import ComfyError
from comfy_files.progress import Say
from comfy_http.client import HttpClient
from comfy_http.guarded import GuardedClient
from comfy_http.settings import NetworkSettings
from comfy_models.sources.buckets.address import BUCKET_SCHEMES
from comfy_models.sources.civitai_address import is_civitai_address
from comfy_models.sources.errors import AccessDeniedError, ChangedError, NotAModelError
from comfy_models.sources.hosts import Hosts, hosts_for
from comfy_models.sources.hub_address import hub_endpoint, is_hub_address
from rp_handler.inputs.document import scheme_of
from rp_handler.inputs.download import REMEDIES
from rp_handler.inputs.policy import InputPolicy

_NEXT = "Check that the model can be read from elsewhere, then send the job again."
_LOGINS = ("HF_TOKEN", "CIVITAI_TOKEN")
_REMEDIES: Mapping[type[ComfyError], str] = {
    **REMEDIES,
    NotAModelError: "Use the address of the file itself.",
    ChangedError: "Send the job again.",
}


class JobHosts:
    """The hosts of one job's models, until it is closed. For several threads."""

    def __init__(self, policy: InputPolicy, variables: Mapping[str, str], say: Say) -> None:
        self._endpoint = hub_endpoint(variables)
        settings = NetworkSettings(timeout_s=policy.silence_s)
        guarded = GuardedClient(
            settings=settings, remedy=_NEXT, allows_private=policy.allows_private
        )
        # Buckets are at endpoints that the worker's own variables name, with the worker's login.
        plain = HttpClient(settings=settings, remedy=_NEXT)
        self._web, self._with_tokens, self._buckets = (
            hosts_for(client, Path("/"), variables, say=say)
            for client in (guarded, replace(guarded, sends_tokens=True), plain)
        )

    def of(self, source: str) -> Hosts:
        if is_hub_address(source, self._endpoint) or is_civitai_address(source):
            return self._with_tokens
        return self._buckets if scheme_of(source) in BUCKET_SCHEMES else self._web

    def close(self) -> None:
        for hosts in (self._web, self._with_tokens, self._buckets):
            hosts.session.close()


def with_remedy_of_a_job(error: ComfyError) -> ComfyError:
    """The error of a source, with what the sender of a job can do: there is no spec to correct."""
    found = next((it for kind, it in _REMEDIES.items() if isinstance(error, kind)), None)
    if found is not None:
        error.remedy = found
    elif isinstance(error, AccessDeniedError) and not any(it in error.remedy for it in _LOGINS):
        error.remedy = "Use an address that this worker can read."
    error.remedy = error.remedy.replace("Correct 'source' in the spec", "Correct the source")
    return error
