"""Where a build gets Python packages: from public indexes directly, all others from the context.

A build step has no logins and no paths of this machine. Packages that only a private index has are
downloaded here, checked against the lock, and copied into the build context; so is everything if a
build has no network access.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from comfy_errors import UnavailableError
from comfy_errors.names import quantity
from comfy_files.files import replace_file
from comfy_files.space import require_room
from comfy_http.logins import login_for
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.archive_store import find_archive
from runpod_comfy.cache.paths import MORE_ROOM, Cache
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.layers.plan import LayerKind
from runpod_comfy.lock.model import PythonLock
from runpod_comfy.lock.python.wheels import PlatformFile, absent_bytes, bring_wheels
from runpod_comfy.sources.index.files import Index
from runpod_comfy.sources.index.pip_settings import (
    PipSettings,
    install_script_variables,
    local_path_of,
    read_index_settings,
    uv_variables,
)

_REMEMBERED_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Packages:
    """The package sources of a build's steps.

    `variables` are those of each kind of layer, for its uv and for the pip and uv that a node's
    install.py calls. `copied` are files for the build context by sha256, with their names.
    """

    variables: Mapping[LayerKind, Mapping[str, str]]
    copied: Mapping[str, tuple[str, Path]]


def packages_for(
    python: PythonLock,
    files: Sequence[PlatformFile],
    fetch_context: FetchContext,
    *,
    has_network: bool = True,
) -> Packages:
    """What a build needs to install `files` of `python`; `has_network` says whether its steps have
    network access.

    Raises as `bring_wheels` does; offline, UnavailableError for files that are not cached.
    """
    settings, cache = read_index_settings(), fetch_context.cache
    local = settings.only([place for place in settings.places if local_path_of(place)])
    open_to: dict[bool, PipSettings] = {}
    needed: list[PlatformFile] = []
    for in_torch_group in (True, False):
        group = [each for each in files if each.in_torch_group == in_torch_group]
        known = settings.with_first(python.torch_index) if in_torch_group else settings
        allowed = open_part(known) if has_network else PipSettings(no_index=True)
        open_to[in_torch_group] = allowed
        if fetch_context.offline:
            # Where a build could find the rest is unknown, and no server may be contacted.
            here = _offered(group, local, cache)
            needed += [
                each for each in group if each in here or find_archive(each.file.sha256, cache)
            ]
        elif not allowed.places:
            needed += group
        else:
            # Requested with this machine's proxy and certificates.
            others = set(known.places).difference(allowed.places)
            closed = _offered(group, known.only(others), cache)
            also_open = _offered(closed, known.only(allowed.places), cache)
            needed += [each for each in closed if each not in also_open]
    # Each is copied into the build context.
    copies_bytes = sum(each.file.size or 0 for each in needed)
    require_room(
        [(cache.archives, absent_bytes(needed, cache)), (cache.tmp, copies_bytes)],
        remedy=MORE_ROOM,
    )
    if fetch_context.offline:
        paths = bring_wheels(needed, None, fetch_context, local)
        if not has_network:
            _require_all(files, needed)
    else:
        paths = bring_wheels(needed, python.torch_index, fetch_context, settings)
    return Packages(
        variables={
            "torch": uv_variables(open_to[True], {}),
            "wheels": uv_variables(open_to[False], {}),
            "handler": uv_variables(open_to[False], {}),
            "install": install_script_variables(open_to[False], {}),
        },
        copied={each.file.sha256: (each.file.name, paths[each.file.sha256]) for each in needed},
    )


def open_part(settings: PipSettings) -> PipSettings:
    """The settings, without indexes that a build step cannot reach or must not know.

    No proxy: the engine passes one on by itself, without recording it in the image.
    """
    places = [] if settings.client_cert else [each for each in settings.places if is_open(each)]
    return replace(settings.only(places), cert=None, client_cert=None, proxy=None)


def is_open(place: str) -> bool:
    """True if a container may know this place: no login, no token, not on this machine."""
    if local_path_of(place) is not None or without_secrets(place) != place:
        return False
    host = urlsplit(place).hostname or ""
    try:
        address = ipaddress.ip_address(host)
        is_here = address.is_loopback or address.is_unspecified
    except ValueError:
        is_here = f".{host}".endswith(".localhost")
    return not is_here and login_for(place) is None


def _require_all(files: Sequence[PlatformFile], at_hand: Sequence[PlatformFile]) -> None:
    """One fitting file per distribution is enough."""
    wanted, there = ({_release(each): each for each in some} for some in (files, at_hand))
    if missing := sorted({wanted[key].distribution.name for key in wanted.keys() - there.keys()}):
        raise UnavailableError(
            f"{quantity(len(missing), 'Python package is', 'Python packages are')} not cached, and "
            f"neither this machine nor the build may download files: {', '.join(missing)}",
            remedy="Run once without --offline, or load a bundle of the version: runpod-comfy "
            "bundle load FILE",
        )


def _offered(
    files: Sequence[PlatformFile], settings: PipSettings, cache: Cache
) -> list[PlatformFile]:
    """The files that these indexes have: with a matching hash, or a matching name if they announce
    no hash.

    Requests take seconds, so answers are cached for a while.
    """
    places = settings.places
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
    return [each for each in files if _release(each) in found]


def _release(file: PlatformFile) -> str:
    """Its distribution and version: a version and the handler may use two releases of one name."""
    return f"{file.distribution.name}=={file.distribution.version}"


def _recall(memory: Path) -> set[str] | None:
    try:
        if time.time() - memory.stat().st_mtime > _REMEMBERED_S:
            return None
        return set(json.loads(memory.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _ask(files: Sequence[PlatformFile], settings: PipSettings) -> set[str]:
    hashes = {each.file.sha256: _release(each) for each in files}
    names = {each.file.name: _release(each) for each in files}
    answers = Index(settings=settings).look_up(sorted({each.distribution.name for each in files}))
    found = set()
    for offered in answers.values():
        if isinstance(offered, UnavailableError):
            raise offered
        for file in offered:
            release = hashes.get(file.sha256) if file.sha256 else names.get(file.name)
            if release is not None:
                found.add(release)
    return found
