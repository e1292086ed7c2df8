"""The source of a URL, by its scheme."""

from __future__ import annotations

from urllib.parse import urlsplit

from comfy_errors import InvalidInputError
from comfy_http.redaction import without_secrets
from comfy_models.model_file import Pin
from comfy_models.search import local_path
from comfy_models.sources.file import FileSource
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.source import Source


def source_for(url: str, hosts: Hosts, pin: Pin | None = None) -> Source:
    """The source that a URL or path names, held to `pin` if there is one.

    Raises InvalidInputError for an unknown scheme and for a file on another machine.
    """
    path = local_path(url, hosts.base_dir)
    if path is not None:
        return FileSource(path)
    # Each imports what only its own kind of host needs.
    match urlsplit(url).scheme.lower():
        case "http" | "https":
            from comfy_models.sources.http import HttpSource

            return HttpSource(url, hosts, pin)
    raise InvalidInputError(
        f"{without_secrets(url)} has an unknown scheme",
        remedy="Known are http, https, file, gs, s3, hf, huggingface, civitai, and plain paths.",
    )
