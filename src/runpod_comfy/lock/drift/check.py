"""Compares the lock with its sources: what changed since it was made. Read-only.

No model is downloaded: its hosts say whether it moved, is gated or gone. Of a file on this machine
only the size is compared: hashing it takes as long as realizing, which does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from packaging.version import Version

from comfy_errors import InvalidInputError, MismatchError, UnavailableError
from comfy_errors.names import listed, quantity
from comfy_files.parallel import in_parallel
from comfy_http.redaction import without_secrets
from comfy_models.model_file import ModelSource
from comfy_models.search import local_path
from comfy_models.sources.errors import AccessDeniedError, GoneError
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.hub.folder import hub_folder
from comfy_models.sources.hub_address import parse_hub_address
from comfy_models.sources.kinds import asked
from comfy_models.sources.source import HostFile
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.lock.drift.tree import Answer, DriftFinding, LockedPlace, answer
from runpod_comfy.lock.model import Distribution, DistributionFile, Lock
from runpod_comfy.lock.models.asked import KnownModel, is_file_of
from runpod_comfy.lock.models.pin import change_of_pin
from runpod_comfy.lock.python.torch_family import FAMILY, in_torch_group
from runpod_comfy.sources.index.files import Index, IndexFile
from runpod_comfy.sources.index.pip_settings import read_pip_settings
from runpod_comfy.sources.model_hosts import model_hosts
from runpod_comfy.spec.load import LoadedSpec, spec_digest
from runpod_comfy.spec.model import Model, Spec

_ASKED_AT_ONCE = 16
_NAMED_AT_MOST = 3
_REFUSED = (AccessDeniedError, GoneError, InvalidInputError, MismatchError)
_Offered = dict[str, list[IndexFile] | UnavailableError]


def look_at_models(
    spec: Spec, lock: Lock, hosts: Hosts, *, offline: bool
) -> tuple[list[Answer], int]:
    """What changed since the lock was made: one answer for each model file that is no part of a
    folder, and for each folder of the Hub. Offline, only files on this machine are looked at; the
    number of the other models comes second.
    """
    version_id = lock.version_id
    left: list[KnownModel] = [*lock.models, *lock.unhashed_models]
    looks: list[Callable[[], Answer]] = []
    skipped = 0
    for folder in (model for model in spec.models if model.is_folder):
        files = sorted(
            (each for each in left if is_file_of(folder, each)), key=lambda each: each.target_path
        )
        left = [each for each in left if each not in files]
        if files and offline:
            skipped += 1
        elif files:
            changes = partial(_changes_of_folder, folder, files, version_id, hosts)
            looks.append(partial(answer, "models", folder.name, changes))
    for model in left:
        is_here = [local_path(each.url, hosts.base_dir) is not None for each in model.sources]
        if offline and not any(is_here):
            skipped += 1
        else:
            looks.append(partial(_look, model, version_id, hosts, offline=offline))
    return in_parallel(lambda look: look(), looks, threads=_ASKED_AT_ONCE), skipped


def _look(model: KnownModel, version_id: str, hosts: Hosts, *, offline: bool) -> Answer:
    each = [
        answer("models", model.name, partial(_changes, model, source, version_id, hosts))
        for source in model.sources
        if not offline or local_path(source.url, hosts.base_dir) is not None
    ]
    return Answer(
        moved=tuple(finding for one in each for finding in one.moved),
        unanswered=tuple(finding for one in each for finding in one.unanswered),
    )


def _changes(
    model: KnownModel, source: ModelSource, version_id: str, hosts: Hosts
) -> Iterator[DriftFinding]:
    is_here = local_path(source.url, hosts.base_dir) is not None
    remedy = f"{'Put the right file back, or' if is_here else 'Accept it with'}: " + (
        f"runpod-comfy resolve {version_id} --upgrade {model.name}"
    )
    try:
        now = asked(source.url, hosts)
        change = _change(model, source, now, remedy)
        if change is None and source.pin.commit not in (None, now.pin.commit):
            change = _lost_commit(model, source, hosts, remedy)
    except _REFUSED as error:
        yield _finding(model.name, f"the model {model.name}: {error.message}", error.remedy)
        return
    if change is not None:
        yield change


def _lost_commit(
    model: KnownModel, source: ModelSource, hosts: Hosts, remedy: str
) -> DriftFinding | None:
    """Of a repository whose history was rewritten: the file is there, but not as it is pinned."""
    try:
        asked(source.url, hosts, source.pin)
    except GoneError:
        message = (
            f"the model {model.name}: {without_secrets(source.url)} no longer has the commit "
            f"{source.pin.commit}"
        )
        return _finding(model.name, message, remedy, before=source.pin.commit)
    return None


def _changes_of_folder(
    folder: Model, files: Sequence[KnownModel], version_id: str, hosts: Hosts
) -> Iterator[DriftFinding]:
    shown = without_secrets(folder.source)
    remedy = f"Accept it with: runpod-comfy resolve {version_id} --upgrade {folder.name}"
    try:
        now = {each.url: each for each in hub_folder(parse_hub_address(folder.source), hosts)}
    except _REFUSED as error:
        yield _finding(folder.name, f"the model {folder.name}: {error.message}", error.remedy)
        return
    for file in files:
        source = file.sources[0]
        there = now.pop(source.url, None)
        if there is None:
            yield _finding(file.name, f"the model {file.name} is gone from {shown}", remedy)
        elif change := _change(file, source, there.told, remedy):
            yield change
    if now:
        files_are = quantity(len(now), "new file")
        names = listed([each.path for each in now.values()], at_most=_NAMED_AT_MOST)
        message = f"the model {folder.name}: {shown} has {files_are}: {names}"
        yield _finding(folder.name, message, remedy)


def _change(
    model: KnownModel, source: ModelSource, now: HostFile, remedy: str
) -> DriftFinding | None:
    """How the file at one source differs from the lock, if it does."""
    shown = without_secrets(source.url)
    known: list[tuple[str, object, object]] = [
        ("sha256", model.sha256, now.sha256),
        ("size in bytes", model.size, now.size),
    ]
    differing = [each for each in known if None not in each and each[1] != each[2]]
    if change := change_of_pin(source.pin, now.pin):
        differing.append(change)
    if differing:
        what, before, after = differing[0]
        return _finding(
            model.name,
            f"the model {model.name} changed at {shown}: its {what} is {after}, the lock has "
            f"{before}",
            remedy,
            before=str(before),
            after=str(after),
        )
    if now.moved_to is not None:
        return _finding(
            model.name,
            f"the model {model.name} was renamed: {shown} is now {now.moved_to}",
            "Write the new address in the spec, and resolve again.",
            before=source.url,
            after=now.moved_to,
        )
    return None


def _finding(
    name: str, message: str, remedy: str, *, before: str | None = None, after: str | None = None
) -> DriftFinding:
    return DriftFinding(
        part="models", name=name, message=message, remedy=remedy, before=before, after=after
    )


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The findings. `unanswered` could not be reached; `not_looked_at` names what was skipped;
    `looked_at` counts the rest.
    """

    moved: tuple[DriftFinding, ...]
    unanswered: tuple[DriftFinding, ...]
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


def _at_spec(loaded: LoadedSpec, lock: Lock) -> Iterator[DriftFinding]:
    now = spec_digest(loaded.spec)
    if now != lock.spec_digest:
        yield DriftFinding(
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
) -> Iterator[DriftFinding]:
    offered: list[IndexFile] = []
    for found in offered_there:
        there = found.get(locked.name, [])
        if isinstance(there, UnavailableError):
            raise there
        offered += there
    for message, after in _messages(locked, offered):
        name = "torch" if locked.name in FAMILY else locked.name
        yield DriftFinding(
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
