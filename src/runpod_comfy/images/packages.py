"""Where a build gets Python packages: from open indexes by itself, all others through the context.

A build step is told no login and no path of this machine. What only a closed index has is
downloaded here, checked against the lock, and handed in.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from requests.utils import get_netrc_auth

from comfy_errors import UnavailableError
from runpod_comfy.lock.model import Lock, PythonLock
from runpod_comfy.lock.wheels import PlatformFile, bring_wheels, platform_files
from runpod_comfy.sources.cache import Cache
from runpod_comfy.sources.index import Index
from runpod_comfy.sources.pip_settings import (
    PipSettings,
    local_path_of,
    read_pip_settings,
    uv_arguments,
    uv_environment,
)
from runpod_comfy.sources.redaction import without_secrets
from runpod_comfy.sources.tree import Surroundings
from runpod_comfy.spec.atomic_file import replace_file


@dataclass(frozen=True, kw_only=True)
class Packages:
    """What the installer is told in a build, by variable; and the files that are handed in, by
    their sha256, with their names."""

    variables: Mapping[str, str]
    torch_variables: Mapping[str, str]
    handed_in: Mapping[str, tuple[str, Path]]


def packages_for(lock: Lock, platform: str, surroundings: Surroundings) -> Packages:
    """What a build of `lock` needs for its packages. Raises as `bring_wheels` does."""
    settings = settings_here(os.environ)
    told = open_part(settings)
    files = _remembered_closed_files(lock.python, platform, settings, told, surroundings.cache)
    paths = bring_wheels(files, lock.python, surroundings) if files else {}
    torch_index = lock.python.torch_index
    return Packages(
        variables=_variables(told),
        torch_variables=_variables(_with_first(told, torch_index) if torch_index else told),
        handed_in={each.file.sha256: (each.file.name, paths[each.file.sha256]) for each in files},
    )


def settings_here(environment: Mapping[str, str]) -> PipSettings:
    """pip's settings of this machine, with the indexes that uv's variables name instead, if any."""
    settings = read_pip_settings(environment)
    main = environment.get("UV_DEFAULT_INDEX") or environment.get("UV_INDEX_URL")
    extra = environment.get("UV_INDEX") or environment.get("UV_EXTRA_INDEX_URL")
    links = environment.get("UV_FIND_LINKS")
    if not (main or extra or links):
        return settings
    return replace(
        settings,
        index_url=main,
        extra_index_urls=tuple((extra or "").split()),
        find_links=tuple(filter(None, (links or "").split(","))),
    )


def open_part(settings: PipSettings) -> PipSettings:
    """The settings without every index that a build step could not or must not be told of."""
    open_indexes = [url for url in settings.index_urls if is_open(url)]
    if settings.client_cert:
        open_indexes = []
    return replace(
        _with_indexes(settings, open_indexes),
        find_links=tuple(place for place in settings.find_links if is_open(place)),
        cert=None,
        client_cert=None,
    )


def is_open(place: str) -> bool:
    """Whether a container may be told this place: no login, no token, and not of this machine."""
    if local_path_of(place) is not None or without_secrets(place) != place:
        return False
    host = urlsplit(place).hostname or ""
    return not _is_loopback(host) and get_netrc_auth(place) is None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _remembered_closed_files(
    python: PythonLock, platform: str, settings: PipSettings, told: PipSettings, cache: Cache
) -> list[PlatformFile]:
    """The files of the lock that the build itself cannot get.

    Asking takes seconds, and the answer holds for as long as the lock's files and the indexes are
    the same.
    """
    files = platform_files(python, platform)
    question = repr([[each.file.sha256 for each in files], _places(settings)])
    digest = hashlib.sha256(question.encode()).hexdigest()
    memory = cache.tools / f"closed-{digest}-{platform}.json"
    try:
        closed = set(json.loads(memory.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        closed = {each.file.sha256 for each in _closed_files(files, settings, told)}
        replace_file(memory, json.dumps(sorted(closed)).encode())
    return [each for each in files if each.file.sha256 in closed]


def _places(settings: PipSettings) -> list[tuple[str, ...]]:
    return [settings.index_urls, settings.find_links]


def _closed_files(
    files: list[PlatformFile], settings: PipSettings, told: PipSettings
) -> list[PlatformFile]:
    if told.no_index and not told.find_links:
        return files
    closed_names = _offered(files, _closed_part(settings))
    candidates = [each for each in files if each.distribution.name in closed_names]
    open_names = _offered(candidates, told)
    return [each for each in candidates if each.distribution.name not in open_names]


def _closed_part(settings: PipSettings) -> PipSettings:
    closed_indexes = [url for url in settings.index_urls if not is_open(url)]
    return replace(
        _with_indexes(settings, closed_indexes),
        find_links=tuple(place for place in settings.find_links if not is_open(place)),
    )


def _with_indexes(settings: PipSettings, urls: Sequence[str]) -> PipSettings:
    return replace(
        settings,
        index_url=urls[0] if urls else None,
        extra_index_urls=tuple(urls[1:]),
        no_index=not urls,
    )


def _offered(files: Sequence[PlatformFile], settings: PipSettings) -> set[str]:
    """The distributions of which these indexes have one of `files`."""
    if not files or (settings.no_index and not settings.find_links):
        return set()
    wanted = {(each.distribution.name, each.file.sha256) for each in files}
    names = {(each.distribution.name, each.file.name) for each in files}
    answers = Index(settings=settings).look_up(sorted({name for name, _ in wanted}))
    found = set()
    for name, offered in answers.items():
        if isinstance(offered, UnavailableError):
            raise offered
        if any(
            (name, file.sha256) in wanted if file.sha256 else (name, file.name) in names
            for file in offered
        ):
            found.add(name)
    return found


def _with_first(settings: PipSettings, index: str) -> PipSettings:
    return replace(
        settings,
        index_url=index,
        extra_index_urls=settings.index_urls,
        no_index=False,
    )


def _variables(told: PipSettings) -> dict[str, str]:
    """The same as variables for uv."""
    variables = uv_environment(told, {})
    arguments = uv_arguments(told, {})
    if "--no-index" in arguments:
        variables["NO_INDEX"] = "1"
    if "--index-strategy" in arguments:
        # Hashes decide what is installed: any index that has the file will do.
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    # The engine hands a proxy on by itself, without noting it in the image.
    return {name: value for name, value in variables.items() if not name.endswith("_PROXY")}
