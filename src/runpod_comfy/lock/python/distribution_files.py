"""The files of a distribution as the lock lists them: the same through any mirror, and kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from comfy_files.parallel import in_parallel
from runpod_comfy.lock.model import Distribution, DistributionFile, PythonLock
from runpod_comfy.lock.python.platform_marker import fits_platform, fits_python, platforms_of
from runpod_comfy.lock.python.uv_compile import Compiled
from runpod_comfy.sources.index.pip_settings import local_path_of, read_pip_settings

_TIMEOUT_S = 30.0


def locked_files(
    compiled: Sequence[Compiled],
    *,
    python: str,
    platforms: Sequence[str],
    torch_index: str | None,
    as_of: str | None,
    previous: PythonLock | None,
    offline: bool,
) -> dict[tuple[str, str], list[DistributionFile]]:
    """The files of every release, by name and version, each list sorted by file name.

    A release that `previous` has for the same Python and platforms keeps the files it has there:
    late uploads change nothing.
    """
    known = _known(previous, python, platforms, torch_index)
    if previous is not None and as_of not in (None, previous.as_of):
        # It may have files that were uploaded later.
        known = {}
    entries = {
        (item.name, item.version): [
            entry for entry in item.files if fits_python(_name(entry), python)
        ]
        for item in compiled
    }
    asked = {key: found for key, found in entries.items() if key not in known}
    sizes = _sizes([entry for found in asked.values() for entry in found], offline=offline)
    files = {
        key: _sorted(
            DistributionFile(
                name=_name(entry),
                sha256=entry["hashes"]["sha256"],
                size=sizes.get(_place(entry), entry.get("size")),
            )
            for entry in found
        )
        for key, found in asked.items()
    }
    return files | {key: known[key] for key in entries if key in known}


def warnings_of(distribution: Distribution, *, python: str, platforms: Sequence[str]) -> list[str]:
    """What a person should know about the files of a locked distribution."""
    here = platforms_of(distribution.marker, python=python, platforms=platforms)
    wheels = [file for file in distribution.files if file.name.endswith(".whl")]
    without = [
        platform
        for platform in here
        if not any(fits_platform(wheel.name, platform) for wheel in wheels)
    ]
    if not without:
        return []
    title = f"{distribution.name} {distribution.version}"
    return [
        f"{title} has no wheel for {' and '.join(without)}: there it is built from its sources, "
        "which needs a compiler or a network and need not give the same bytes twice"
    ]


def _known(
    previous: PythonLock | None, python: str, platforms: Sequence[str], torch_index: str | None
) -> dict[tuple[str, str], list[DistributionFile]]:
    if previous is None or (previous.version, previous.platforms) != (python, list(platforms)):
        return {}
    # Another index may have other files for the same version of torch.
    groups = [*previous.wheels]
    if previous.torch_index == torch_index:
        groups += previous.torch
    return {(item.name, item.version): item.files for item in groups}


def _sorted(files: Any) -> list[DistributionFile]:
    by_hash = {file.sha256: file for file in files}
    return sorted(by_hash.values(), key=lambda item: item.name)


def _place(entry: dict[str, Any]) -> str:
    place: str = entry.get("url") or entry.get("path") or ""
    return place


def _name(entry: dict[str, Any]) -> str:
    name: str = entry.get("name") or unquote(Path(urlsplit(_place(entry)).path).name)
    return name


def _sizes(entries: Sequence[dict[str, Any]], *, offline: bool) -> dict[str, int]:
    """The sizes that the index does not tell, in bytes, by place.

    Some indexes tell them and others do not; a lock must not depend on which one was asked.
    """
    untold = [place for entry in entries if (place := _place(entry)) and "size" not in entry]
    local = {place: path for place in untold if (path := local_path_of(place)) is not None}
    found = {place: path.stat().st_size for place, path in local.items() if path.is_file()}
    remote = [place for place in untold if place not in local]
    return found if offline or not remote else found | _announced_sizes(remote)


def _announced_sizes(urls: Sequence[str]) -> dict[str, int]:
    # Most indexes tell sizes, and then nothing of this is needed.
    import requests

    from comfy_http.client import HttpClient

    settings = read_pip_settings()
    client = HttpClient(settings=settings, remedy="")
    with client.session() as session:

        def ask(url: str) -> int | None:
            try:
                answer = session.head(
                    url,
                    allow_redirects=True,
                    timeout=settings.timeout_s or _TIMEOUT_S,
                    # As it lies there: packed for the way it would have another length.
                    headers={"Accept-Encoding": "identity"},
                    verify=settings.cert,
                )
                answer.raise_for_status()
                return int(answer.headers["Content-Length"])
            except (requests.RequestException, KeyError, ValueError):
                # A size is a comfort to those who wait; the hash is what counts.
                return None

        sizes = zip(urls, in_parallel(ask, urls), strict=True)
        return {url: size for url, size in sizes if size is not None}
