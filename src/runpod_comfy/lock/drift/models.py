"""Compares the models of a lock with their hosts: moved, renamed, gated, gone or unchanged.

Nothing is downloaded. Of a file on this machine only the size is compared: hashing it takes as long
as realizing, which does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from comfy_errors import InvalidInputError, MismatchError
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
from runpod_comfy.lock.drift.tree import Answer, Finding, answer
from runpod_comfy.lock.model import Lock
from runpod_comfy.lock.models.asked import KnownModel, is_file_of
from runpod_comfy.lock.models.pin import change_of_pin
from runpod_comfy.spec.model import Model, Spec

_ASKED_AT_ONCE = 16
_REFUSED = (AccessDeniedError, GoneError, InvalidInputError, MismatchError)


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
) -> Iterator[Finding]:
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
) -> Finding | None:
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
) -> Iterator[Finding]:
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
        names = listed([each.path for each in now.values()], at_most=3)
        message = f"the model {folder.name}: {shown} has {files_are}: {names}"
        yield _finding(folder.name, message, remedy)


def _change(model: KnownModel, source: ModelSource, now: HostFile, remedy: str) -> Finding | None:
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
) -> Finding:
    return Finding(
        part="models", name=name, message=message, remedy=remedy, before=before, after=after
    )
