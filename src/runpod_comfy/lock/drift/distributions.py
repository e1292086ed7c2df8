"""The distributions of a lock against the index: gone, withdrawn, or with other files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from packaging.version import Version

from comfy_errors import UnavailableError
from runpod_comfy.lock.drift.finding import Answer, Finding, answer, unanswered
from runpod_comfy.lock.model import Distribution, DistributionFile, Lock
from runpod_comfy.lock.python.torch_family import FAMILY, in_torch_group
from runpod_comfy.sources.index.files import Index, IndexFile
from runpod_comfy.sources.index.pip_settings import read_pip_settings

_NAMED_AT_MOST = 3

_Offered = dict[str, list[IndexFile] | UnavailableError]


def look_at_distributions(distributions: Sequence[Distribution], lock: Lock) -> list[Answer]:
    """What became of each, in their order; every index page is read once."""
    offered = _look_up(sorted({item.name for item in distributions}), lock.python.torch_index)
    return [_look_at(item, offered[item.name], lock.version_id) for item in distributions]


def _look_up(names: Sequence[str], torch_index: str | None) -> _Offered:
    settings = read_pip_settings()
    if torch_index is None:
        return Index(settings=settings).look_up(names)
    # The family comes from its own index only; its companions may be there too.
    own = [name for name in names if in_torch_group(name)]
    only_there = replace(
        settings, index_url=torch_index, extra_index_urls=(), find_links=(), no_index=False
    )
    there = Index(settings=only_there).look_up(own)
    elsewhere = Index(settings=settings).look_up([name for name in names if name not in FAMILY])
    return {name: _joined(there.get(name), elsewhere.get(name)) for name in names}


def _joined(
    first: list[IndexFile] | UnavailableError | None,
    second: list[IndexFile] | UnavailableError | None,
) -> list[IndexFile] | UnavailableError:
    known = [each for each in (first, second) if each is not None]
    errors = [each for each in known if isinstance(each, UnavailableError)]
    if errors:
        return errors[0]
    return [file for each in known if isinstance(each, list) for file in each]


def _look_at(
    locked: Distribution, offered: list[IndexFile] | UnavailableError, version_id: str
) -> Answer:
    if isinstance(offered, UnavailableError):
        return unanswered("python", locked.name, offered)
    return answer("python", locked.name, lambda: _findings(locked, offered, version_id))


def _findings(locked: Distribution, offered: Sequence[IndexFile], version_id: str) -> list[Finding]:
    title = f"{locked.name} {locked.version}"
    name = "torch" if locked.name in FAMILY else locked.name
    upgrade = f"Take another version in with: runpod-comfy resolve {version_id} --upgrade {name}"
    if not offered:
        return [_found(locked, f"{title}: no index has this distribution any more", upgrade)]
    files = [file for file in offered if Version(file.version) == Version(locked.version)]
    if not files:
        newest = max((file.version for file in offered), key=Version)
        return [
            _found(
                locked, f"{title} is gone from the index (newest there: {newest})", upgrade, newest
            )
        ]
    found = []
    gone = [file.name for file in locked.files if not _is_offered(file, files)]
    if gone:
        named = ", ".join(gone[:_NAMED_AT_MOST]) + (", …" if len(gone) > _NAMED_AT_MOST else "")
        changed = any(file.name in gone for file in files)
        what = "have other bytes or are gone" if changed else "are gone"
        message = f"{title}: {len(gone)} of {len(locked.files)} locked files {what}: {named}"
        found.append(_found(locked, message, upgrade))
    names = {file.name for file in locked.files}
    withdrawn = [file.yanked for file in files if file.name in names and file.yanked is not None]
    if withdrawn:
        message = f"{title} was withdrawn by its authors: {withdrawn[0]}"
        found.append(_found(locked, message, upgrade))
    return found


def _is_offered(file: DistributionFile, files: Sequence[IndexFile]) -> bool:
    """By its bytes; by its name where an index announces no hash."""
    return any(
        other.sha256 == file.sha256 or (other.sha256 is None and other.name == file.name)
        for other in files
    )


def _found(locked: Distribution, message: str, remedy: str, after: str | None = None) -> Finding:
    return Finding(
        part="python",
        name=locked.name,
        message=message,
        remedy=remedy,
        before=locked.version,
        after=after,
    )
