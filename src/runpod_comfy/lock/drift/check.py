"""Compares the lock with its sources: what changed since it was made. Read-only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from packaging.version import Version

from comfy_errors import UnavailableError
from comfy_errors.names import listed, quantity
from comfy_files.parallel import in_parallel
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.lock.drift.models import look_at_models
from runpod_comfy.lock.drift.tree import Answer, Finding, LockedPlace, answer
from runpod_comfy.lock.model import Distribution, DistributionFile, Lock
from runpod_comfy.lock.python.torch_family import FAMILY, in_torch_group
from runpod_comfy.sources.index.files import Index, IndexFile
from runpod_comfy.sources.index.pip_settings import read_pip_settings
from runpod_comfy.sources.model_hosts import model_hosts
from runpod_comfy.spec.load import LoadedSpec, spec_digest

_NAMED_AT_MOST = 3

_Offered = dict[str, list[IndexFile] | UnavailableError]


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The findings. `unanswered` could not be reached; `not_looked_at` names what was skipped;
    `looked_at` counts the rest.
    """

    moved: tuple[Finding, ...]
    unanswered: tuple[Finding, ...]
    not_looked_at: tuple[str, ...]
    looked_at: int


def look_for_drift(loaded: LoadedSpec, lock: Lock, fetch_context: FetchContext) -> Drift:
    """Every pin of `lock` that is gone, was yanked or has changed.

    Offline, only files on this machine are checked.
    """
    places = _places(loaded, lock, fetch_context)
    distributions = lock.python.distributions
    hosts = model_hosts(loaded.path.parent, say=fetch_context.say)
    models, skipped = look_at_models(loaded.spec, lock, hosts, offline=fetch_context.offline)
    left_out = []
    if skipped:
        left_out.append(f"{quantity(skipped, 'model')} not on this machine")
    if fetch_context.offline:
        left_out += [place.name for place in places if not place.is_local]
        left_out.append(quantity(len(distributions), "Python distribution"))
        places = [place for place in places if place.is_local]
        distributions = []
    answers = [
        Answer(moved=tuple(_at_spec(loaded, lock))),
        *in_parallel(LockedPlace.look, places),
        *models,
        *look_at_distributions(distributions, lock),
    ]
    return Drift(
        moved=tuple(finding for each in answers for finding in each.moved),
        unanswered=tuple(finding for each in answers for finding in each.unanswered),
        not_looked_at=tuple(left_out),
        looked_at=len(answers),
    )


def _places(loaded: LoadedSpec, lock: Lock, fetch_context: FetchContext) -> list[LockedPlace]:
    asked = {node.name: node for node in loaded.spec.custom_nodes}
    core = LockedPlace(
        part="core",
        name="core",
        tree=lock.comfy,
        asked=loaded.spec.comfy,
        version_id=lock.version_id,
        fetch_context=fetch_context,
    )
    nodes = (
        replace(core, part="nodes", name=node.name, tree=node, asked=asked.get(node.name))
        for node in lock.custom_nodes
    )
    return [core, *nodes]


def _at_spec(loaded: LoadedSpec, lock: Lock) -> Iterator[Finding]:
    now = spec_digest(loaded.spec)
    if now != lock.spec_digest:
        yield Finding(
            part="spec",
            name=loaded.path.name,
            message=f"{loaded.path} was changed since the lock was made",
            remedy=f"Accept the change with: runpod-comfy resolve {lock.version_id}",
            before=lock.spec_digest,
            after=now,
        )


def look_at_distributions(distributions: Sequence[Distribution], lock: Lock) -> list[Answer]:
    """The findings for each distribution, in order; every index page is read once."""
    offered = _look_up(sorted({item.name for item in distributions}), lock.python.torch_index)
    return [
        answer("python", item.name, partial(_findings, item, offered, lock.version_id))
        for item in distributions
    ]


def _look_up(names: Sequence[str], torch_index: str | None) -> list[_Offered]:
    settings = read_pip_settings()
    if torch_index is None:
        return [Index(settings=settings).look_up(names)]
    # The torch family comes only from its own index; its companions may be there too.
    only_there = replace(
        settings, index_url=torch_index, extra_index_urls=(), find_links=(), no_index=False
    )
    return [
        Index(settings=only_there).look_up(list(filter(in_torch_group, names))),
        Index(settings=settings).look_up([name for name in names if name not in FAMILY]),
    ]


def _findings(
    locked: Distribution, offered_there: Sequence[_Offered], version_id: str
) -> Iterator[Finding]:
    offered: list[IndexFile] = []
    for found in offered_there:
        there = found.get(locked.name, [])
        if isinstance(there, UnavailableError):
            raise there
        offered += there
    for message, after in _messages(locked, offered):
        name = "torch" if locked.name in FAMILY else locked.name
        yield Finding(
            part="python",
            name=locked.name,
            message=f"{locked.name} {locked.version}{message}",
            remedy=f"Use another version with: runpod-comfy resolve {version_id} --upgrade {name}",
            before=locked.version,
            after=after,
        )


def _messages(
    locked: Distribution, offered: Sequence[IndexFile]
) -> Iterator[tuple[str, str | None]]:
    """Messages about the distribution, each with the newest version if this one is gone."""
    files = [file for file in offered if Version(file.version) == Version(locked.version)]
    if not offered:
        yield ": no index has this distribution any more", None
    elif not files:
        newest = max((file.version for file in offered), key=Version)
        yield f" is gone from the index (newest there: {newest})", newest
    else:
        gone = [file.name for file in locked.files if not _is_offered(file, files)]
        if gone:
            named = listed(gone, at_most=_NAMED_AT_MOST)
            changed = any(file.name in gone for file in files)
            what = "have other bytes or are gone" if changed else "are gone"
            yield f": {len(gone)} of {len(locked.files)} locked files {what}: {named}", None
        names = {file.name for file in locked.files}
        withdrawn = (file.yanked for file in files if file.name in names)
        if reason := next((each for each in withdrawn if each is not None), None):
            yield f" was yanked by its authors: {reason}", None


def _is_offered(file: DistributionFile, files: Sequence[IndexFile]) -> bool:
    """Compared by hash; by name if the index announces no hash."""
    return any(
        other.sha256 == file.sha256 or (other.sha256 is None and other.name == file.name)
        for other in files
    )
