"""Which models a worker accepts from jobs: from which hosts, and how many bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from comfy_errors import InvalidInputError
from comfy_models.sources.buckets.address import BUCKET_SCHEMES, bucket_and_key
from comfy_models.sources.civitai_address import is_civitai_address
from comfy_models.sources.hub_address import hub_endpoint, is_hub_address
from rp_handler.inputs.document import scheme_of
from rp_handler.inputs.policy import positive_number

HOSTS = "COMFY_JOB_MODELS"
LIMIT_GB = "COMFY_JOB_MODELS_GB"
_DEFAULT_GB = 50.0
_GB = 1_000_000_000
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")
_BUCKET = re.compile(rf"({'|'.join(BUCKET_SCHEMES)})://[a-z0-9A-Z][a-zA-Z0-9._-]{{1,221}}")


@dataclass(frozen=True, kw_only=True)
class ModelPolicy:
    """`hosts` are names of hosts, `*.` and a name for all hosts below it, and addresses of buckets.
    All models of jobs together have `limit_bytes` at most.
    """

    hosts: tuple[str, ...]
    limit_bytes: int = round(_DEFAULT_GB * _GB)

    def require_allowed(self, source: str, variables: Mapping[str, str]) -> None:
        """Raises InvalidInputError unless a model may come from `source`. Where its host sends us
        for the bytes does not matter.
        """
        host = host_of(source, variables)
        if not any(_is_allowed(host, allowed) for allowed in self.hosts):
            raise InvalidInputError(
                f"models from {host} are not allowed here",
                remedy=f"Use another host, or add {host} to {HOSTS} of the worker.",
            )


def model_policy(variables: Mapping[str, str]) -> ModelPolicy | None:
    """The policy that the environment's variables set; None if jobs may not bring models.

    Raises InvalidInputError.
    """
    hosts = tuple(variables.get(HOSTS, "").replace(",", " ").split())
    limit_gb = positive_number(variables, LIMIT_GB, _DEFAULT_GB)
    for host in hosts:
        if not _HOST.fullmatch(host.lower()) and not _BUCKET.fullmatch(host):
            raise InvalidInputError(
                f'{HOSTS} has "{host}", which is not the name of a host.',
                remedy="Separate names with spaces: huggingface.co civitai.com *.example.com "
                "gs://bucket s3://bucket",
            )
    if not hosts:
        return None
    plain = tuple(host if "://" in host else host.lower() for host in hosts)
    return ModelPolicy(hosts=plain, limit_bytes=round(limit_gb * _GB))


def host_of(source: str, variables: Mapping[str, str]) -> str:
    """The name by which the host of a source is allowed: `huggingface.co`, `civitai.com`, a host's
    own name in lower case, or `gs://bucket`.
    """
    if is_hub_address(source, hub_endpoint(variables)):
        return "huggingface.co"
    if is_civitai_address(source):
        return "civitai.com"
    if scheme_of(source) in BUCKET_SCHEMES:
        return f"{scheme_of(source)}://{bucket_and_key(source)[0]}"
    return (urlsplit(source).hostname or "").lower().rstrip(".")


def _is_allowed(host: str, allowed: str) -> bool:
    if allowed.startswith("*."):
        return host.endswith(allowed[1:])
    return host == allowed
