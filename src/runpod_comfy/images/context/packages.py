"""Where a build gets Python packages: from open indexes by itself, all others through the context.

A build step is told no login and no path of this machine. What only a closed index has is
downloaded here, checked against the lock, and handed in; and everything, where a build has no
network.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from requests.utils import get_netrc_auth

from comfy_errors import UnavailableError
from comfy_files.files import replace_file
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.archive_store import find_archive
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.layers.uv import install_script_variables, uv_variables
from runpod_comfy.lock.model import PythonLock
from runpod_comfy.lock.python.wheels import PlatformFile, bring_wheels
from runpod_comfy.sources.index.files import Index
from runpod_comfy.sources.index.pip_settings import PipSettings, local_path_of, read_index_settings

_NOWHERE = PipSettings(no_index=True)
_REMEMBERED_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Packages:
    """What a build's installer is told, by variable: for the group `torch`, for the rest, and
    for the pip and uv that a node's install.py calls.

    `handed_in` are files by their sha256, with their names.
    """

    torch_variables: Mapping[str, str]
    variables: Mapping[str, str]
    script_variables: Mapping[str, str]
    handed_in: Mapping[str, tuple[str, Path]]


def packages_for(
    python: PythonLock,
    files: Sequence[PlatformFile],
    fetch_context: FetchContext,
    *,
    has_network: bool = True,
) -> Packages:
    """What a build needs to install `files` of `python`; `has_network` tells of the build's steps.

    Raises as `bring_wheels` does; offline, UnavailableError for what is not at hand.
    """
    settings = read_index_settings()
    of_torch = _with_first(settings, python.torch_index)
    told, torch_told = (
        open_part(each) if has_network else _NOWHERE for each in (settings, of_torch)
    )
    cache = fetch_context.cache
    if fetch_context.offline:
        paths = _at_hand(files, python, settings, fetch_context)
        if not has_network:
            _require_all(files, paths)
    else:
        closed = [
            *_closed_files(
                [one for one in files if one.in_torch_group], of_torch, torch_told, cache
            ),
            *_closed_files([one for one in files if not one.in_torch_group], settings, told, cache),
        ]
        paths = bring_wheels(closed, python, fetch_context, settings)
    names = {each.file.sha256: each.file.name for each in files}
    return Packages(
        torch_variables=uv_variables(torch_told, {}),
        variables=uv_variables(told, {}),
        script_variables=install_script_variables(told, {}),
        handed_in={sha256: (names[sha256], path) for sha256, path in paths.items()},
    )


def open_part(settings: PipSettings) -> PipSettings:
    """The settings without every index that a build step could not or must not be told of.

    No proxy: the engine hands one on by itself, without noting it in the image.
    """
    kept = _only(settings, lambda place: is_open(place) and not settings.client_cert)
    return replace(kept, cert=None, client_cert=None, proxy=None)


def is_open(place: str) -> bool:
    """Whether a container may be told this place: no login, no token, and not of this machine."""
    if local_path_of(place) is not None or without_secrets(place) != place:
        return False
    host = urlsplit(place).hostname or ""
    return not _is_this_machine(host) and get_netrc_auth(place) is None


def _is_this_machine(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _closed_files(
    files: Sequence[PlatformFile], settings: PipSettings, told: PipSettings, cache: Cache
) -> list[PlatformFile]:
    """Those of `files` that a build which is told `told` cannot get."""
    if not _places(told):
        return list(files)
    # Asked as this machine may ask: with its proxy, its certificates.
    candidates = _offered(files, _only(settings, lambda it: it not in _places(told)), cache)
    open_ones = _offered(candidates, _only(settings, lambda it: it in _places(told)), cache)
    return [each for each in candidates if each not in open_ones]


def _at_hand(
    files: Sequence[PlatformFile],
    python: PythonLock,
    settings: PipSettings,
    fetch_context: FetchContext,
) -> dict[str, Path]:
    """What can be handed in without asking anybody: where a build finds the rest is not known."""
    local = _only(settings, lambda place: local_path_of(place) is not None)
    offered = _offered(files, local, fetch_context.cache)
    here = [
        each
        for each in files
        if each in offered or find_archive(each.file.sha256, fetch_context.cache) is not None
    ]
    without_torch_index = python.model_copy(update={"torch_index": None})
    return bring_wheels(here, without_torch_index, fetch_context, local)


def _require_all(files: Sequence[PlatformFile], at_hand: Collection[str]) -> None:
    """Of the files that fit a distribution one is enough. `at_hand` are their sha256."""
    there = {each.distribution.name for each in files if each.file.sha256 in at_hand}
    missing = sorted({each.distribution.name for each in files} - there)
    if missing:
        raise UnavailableError(
            f"{len(missing)} Python packages are not at hand, and neither this machine nor the "
            f"build may fetch them: {', '.join(missing)}",
            remedy="Leave --offline out once, or load a bundle of the version: "
            "runpod-comfy bundle load FILE",
        )


def _offered(
    files: Sequence[PlatformFile], settings: PipSettings, cache: Cache
) -> list[PlatformFile]:
    """The files of which these indexes have the distribution: with the file's hash, or, where
    they announce none, its name.

    Asking servers takes seconds, so their answer is remembered for a while.
    """
    places = _places(settings)
    if not files or not places:
        return []
    question = repr([[each.file.sha256 for each in files], list(map(without_secrets, places))])
    memory = cache.tools / f"offered-{hashlib.sha256(question.encode()).hexdigest()}.json"
    remembered = not any(map(local_path_of, places))
    found = _recall(memory) if remembered else None
    if found is None:
        found = _ask(files, settings)
        if remembered:
            replace_file(memory, json.dumps(sorted(found)).encode())
    return [each for each in files if each.distribution.name in found]


def _recall(memory: Path) -> set[str] | None:
    try:
        if time.time() - memory.stat().st_mtime > _REMEMBERED_S:
            return None
        return set(json.loads(memory.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _ask(files: Sequence[PlatformFile], settings: PipSettings) -> set[str]:
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


def _only(settings: PipSettings, wanted: Callable[[str], bool]) -> PipSettings:
    """The settings with those of their indexes and folders alone."""
    urls = [url for url in settings.index_urls if wanted(url)]
    return replace(
        settings,
        index_url=urls[0] if urls else None,
        extra_index_urls=tuple(urls[1:]),
        no_index=not urls,
        find_links=tuple(place for place in settings.find_links if wanted(place)),
    )


def _with_first(settings: PipSettings, index: str | None) -> PipSettings:
    if index is None or settings.no_index:
        return settings
    return replace(settings, index_url=index, extra_index_urls=settings.index_urls)


def _places(settings: PipSettings) -> tuple[str, ...]:
    return (*settings.index_urls, *settings.find_links)
