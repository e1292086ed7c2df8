"""The source of a URL, by its scheme."""

from __future__ import annotations

from urllib.parse import urlsplit

from comfy_errors import InvalidInputError
from comfy_http.redaction import without_secrets
from comfy_models.model_file import Pin
from comfy_models.search import local_path
from comfy_models.sources.civitai_address import is_civitai_address, parse_civitai_address
from comfy_models.sources.file import FileSource
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.hub_address import hub_endpoint, is_hub_address, parse_hub_address
from comfy_models.sources.source import HostFile, Source


def source_for(url: str, hosts: Hosts, pin: Pin | None = None) -> Source:
    """The source that a URL or path names, held to `pin` if there is one.

    Raises InvalidInputError for an address that names no file, an unknown scheme, and a file on
    another machine.
    """
    try:
        found = _named(url, hosts, pin) or _addressed(url, hosts, pin)
    except ValueError as error:
        raise InvalidInputError(
            f"{without_secrets(url)} {error}", remedy="Correct 'source' in the spec."
        ) from error
    if found is not None:
        return found
    raise InvalidInputError(
        f"{without_secrets(url)} has an unknown scheme",
        remedy="Known are http, https, file, gs, s3, hf, huggingface, civitai, and plain paths.",
    )


def asked(url: str, hosts: Hosts, pin: Pin | None = None) -> HostFile:
    """What the host of a URL or path tells about its file. Raises as `source_for` and `pin` do."""
    return source_for(url, hosts.asking, pin).pin()


def _named(url: str, hosts: Hosts, pin: Pin | None) -> Source | None:
    """The source of an address of the Hub or of Civitai, which may be that of a web page.

    Raises ValueError.
    """
    endpoint = hub_endpoint(hosts.variables)
    if is_hub_address(url, endpoint):
        from comfy_models.sources.hub.source import HubSource

        return HubSource(parse_hub_address(url, endpoint), hosts, pin)
    if is_civitai_address(url):
        from comfy_models.sources.civitai import CivitaiSource

        return CivitaiSource(parse_civitai_address(url), hosts, pin)
    return None


def _addressed(url: str, hosts: Hosts, pin: Pin | None) -> Source | None:
    """The source of a path, or of a URL by its scheme; None for an unknown scheme.

    Raises ValueError, and InvalidInputError for a file on another machine.
    """
    try:
        scheme = urlsplit(url).scheme.lower()
        path = local_path(url, hosts.base_dir)
    except ValueError as error:
        raise ValueError("is not a valid URL") from error
    if path is not None:
        return FileSource(path)
    # Each imports what only its own kind of host needs.
    match scheme:
        case "http" | "https":
            from comfy_models.sources.http import HttpSource

            return HttpSource(url, hosts, pin)
        case "gs":
            from comfy_models.sources.buckets.gs import GsSource

            return GsSource(url, hosts, pin)
        case "s3":
            from comfy_models.sources.buckets.s3 import S3Source

            return S3Source(url, hosts, pin)
    return None
