"""Version → bundle: its lock, spec, trees, wheels and models in one file."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from comfy_errors import InvalidInputError, MismatchError, OperationFailedError, UnavailableError
from comfy_files.disk import disk_errors
from comfy_files.sizes import readable_size
from comfy_http.redaction import without_secrets
from comfy_models.store import ModelStore
from comfy_models.transfer import local_path
from runpod_comfy.bundle.format import (
    CONTENTS,
    END,
    LOCK,
    SPEC,
    BundledTree,
    BundleSummary,
    Contents,
    Entry,
    header,
    make_contents,
    padding,
    span,
)
from runpod_comfy.bundle.tree_tar import pack_tree
from runpod_comfy.cache.key_lock import key_lock
from runpod_comfy.cache.tree import FetchContext, FetchedTree, TreeRequest
from runpod_comfy.cache.tree_hash import tree_hash
from runpod_comfy.lock.model import Lock, LockedModel, LockedTree
from runpod_comfy.lock.python.wheels import PlatformFile, bring_wheels, platform_files
from runpod_comfy.sources.kinds import source_of

_CHUNK_BYTES = 1 << 20
_TOLD_EVERY_BYTES = 1_000_000_000

Take = Callable[[bytes], object]


@dataclass(frozen=True, kw_only=True)
class BundleRequest:
    """`spec` are the bytes of the spec that `lock` answers. `models_dir` is a folder of models to
    look in besides the store; `models` says whether models come along."""

    lock: Lock
    spec: bytes
    platform: str
    models: bool = True
    models_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class _Part:
    """An entry, what writes its bytes, and its name and place for messages."""

    entry: Entry
    title: str
    place: Path | str
    write: Callable[[Take], None]


def create_bundle(
    request: BundleRequest, target: Path, fetch_context: FetchContext
) -> BundleSummary:
    """Writes the bundle to the file `target`, replacing it at one stroke; the same request gives
    the same bytes anywhere.

    What is in no cache is fetched. Raises InvalidInputError for a platform that the lock is not
    for, UnavailableError or MismatchError naming what cannot be had, OperationFailedError for a
    disk that is full.
    """
    lock = request.lock
    if request.platform not in lock.python.platforms:
        raise InvalidInputError(
            f"the version {lock.version_id} is locked for {', '.join(lock.python.platforms)}, "
            f"not for {request.platform}",
            remedy="Name one of them with --platform, or add it to 'options.platforms' and "
            "resolve again.",
        )
    files = platform_files(lock.python, request.platform)
    models = lock.models if request.models else []
    sources = _model_files(models, request.models_dir, fetch_context)
    trees, tree_parts = _tree_parts(lock, fetch_context)
    archives = bring_wheels(files, lock.python, fetch_context)
    parts = [
        _text_part(LOCK, lock.to_bytes()),
        _text_part(SPEC, request.spec),
        *tree_parts,
        *(_wheel_part(each, archives[each.file.sha256]) for each in files),
        *(_model_part(model, sources[model.sha256]) for model in _by_content(models)),
    ]
    contents = make_contents(
        version_id=lock.version_id,
        lock_digest=lock.digest,
        platform=request.platform,
        models=request.models,
        trees=trees,
        entries=[part.entry for part in parts],
    )
    size = _write(contents, parts, target, fetch_context)
    return BundleSummary(
        version_id=lock.version_id,
        lock_digest=lock.digest,
        platform=request.platform,
        trees=len(tree_parts),
        wheels=len(files),
        models=len(_by_content(models)),
        sources=tuple(each.file.name for each in files if not each.file.name.endswith(".whl")),
        size_bytes=size,
    )


def _tree_parts(lock: Lock, fetch_context: FetchContext) -> tuple[list[BundledTree], list[_Part]]:
    trees: dict[tuple[str, str, str], BundledTree] = {}
    parts: dict[str, _Part] = {}
    for tree in (lock.comfy, *lock.custom_nodes):
        fetched = _fetch(tree, fetch_context)
        path = f"trees/{tree.tree_hash.removeprefix('tree:')}.tar"
        trees[tree.repo, tree.commit, tree.subdir or ""] = BundledTree(
            repo=tree.repo,
            commit=tree.commit,
            subdir=tree.subdir,
            epoch=fetched.epoch,
            entry=path,
        )
        if path not in parts:
            parts[path] = _tree_part(path, fetched.path)
    return (
        [trees[key] for key in sorted(trees)],
        [parts[path] for path in sorted(parts)],
    )


def _fetch(tree: LockedTree, fetch_context: FetchContext) -> FetchedTree:
    request = TreeRequest(repo=tree.repo, ref=tree.ref, commit=tree.commit, subdir=tree.subdir)
    fetched = source_of(tree.kind).fetch(request, fetch_context)
    # Looked at anew: what goes to another machine should be what the lock says.
    found = tree_hash(fetched.path)
    if found != tree.tree_hash:
        raise MismatchError(
            f"the files of {without_secrets(tree.repo)} at {tree.commit} in {fetched.path} are "
            f"{found}, but the lock asks for {tree.tree_hash}",
            remedy=f"Remove {fetched.path} to have them fetched again, or resolve the version "
            "again.",
        )
    return fetched


def _model_files(
    models: Sequence[LockedModel], models_dir: Path | None, fetch_context: FetchContext
) -> dict[str, Path]:
    """The file of each model by its sha256."""
    store = ModelStore(fetch_context.cache.models)
    found: dict[str, Path] = {}
    missing = []
    for model in models:
        path = _model_file(model, store, models_dir, fetch_context.base_dir)
        if path is None:
            source = without_secrets(model.source)
            missing.append(f"{model.name} ({readable_size(model.size)}), from {source}")
        else:
            found[model.sha256] = path
    if missing:
        raise UnavailableError(
            "models are missing:" + "".join(f"\n  {line}" for line in missing),
            remedy="Realize the version first, which brings them into the store; or leave them "
            "out with --without-models.",
        )
    return found


def _model_file(
    model: LockedModel, store: ModelStore, models_dir: Path | None, base_dir: Path
) -> Path | None:
    places = [store.path_of(model.sha256)]
    if models_dir is not None:
        places.append(models_dir / model.target_path)
    source = local_path(model.source, base_dir)
    if source is not None:
        places.append(source)
    return next(
        (path for path in places if path.is_file() and path.stat().st_size == model.size), None
    )


def _by_content(models: Sequence[LockedModel]) -> list[LockedModel]:
    return list({model.sha256: model for model in sorted(models, key=lambda m: m.sha256)}.values())


def _text_part(path: str, content: bytes) -> _Part:
    entry = Entry(path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest())

    def write(take: Take) -> None:
        take(content)

    return _Part(entry=entry, title=path, place="memory", write=write)


def _tree_part(path: str, folder: Path) -> _Part:
    # Packed twice, once for its hash: a tree is small beside wheels and models, and a copy of it
    # on the disk would be one more thing to clean up.
    digest = hashlib.sha256()
    size = 0

    def measure(chunk: bytes) -> None:
        nonlocal size
        digest.update(chunk)
        size += len(chunk)

    pack_tree(folder, measure)
    entry = Entry(path=path, size=size, sha256=digest.hexdigest())
    return _Part(
        entry=entry, title="a tree", place=folder, write=lambda take: pack_tree(folder, take)
    )


def _wheel_part(each: PlatformFile, archive: Path) -> _Part:
    sha256 = each.file.sha256
    entry = Entry(path=f"wheels/{sha256}", size=archive.stat().st_size, sha256=sha256)
    return _Part(
        entry=entry,
        title=each.file.name,
        place=archive,
        write=lambda take: _copy(archive, take),
    )


def _model_part(model: LockedModel, file: Path) -> _Part:
    entry = Entry(path=f"models/{model.sha256}", size=model.size, sha256=model.sha256)
    return _Part(entry=entry, title=model.name, place=file, write=lambda take: _copy(file, take))


def _copy(file: Path, take: Take) -> None:
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            take(chunk)


def _write(
    contents: Contents, parts: Sequence[_Part], target: Path, fetch_context: FetchContext
) -> int:
    """Writes the file beside its place; gives its size in bytes."""
    table = contents.to_bytes()
    total = span(len(table)) + sum(span(part.entry.size) for part in parts) + len(END)
    if target.is_dir():
        raise InvalidInputError(
            f"{target} is a folder", remedy="Name the file to write with --output."
        )
    # The same name each time, so that a command that was killed leaves one file behind, not many.
    partial = target.with_name(f".{target.name}.partial")
    alone = key_lock(
        fetch_context.cache, str(partial.absolute()), what=str(target), say=fetch_context.say
    )
    with disk_errors(f"{target} could not be written"), alone:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < total:
            raise OperationFailedError(
                f"{target} needs {readable_size(total)}, "
                f"and only {readable_size(free)} are free there",
                remedy="Make room, or name another place with --output.",
            )
        fetch_context.say(f"Packing {len(parts)} parts, {readable_size(total)}")
        try:
            with partial.open("wb") as stream:
                stream.write(header(CONTENTS, len(table)) + table + padding(len(table)))
                told = done = 0
                for part in parts:
                    _write_part(part, stream)
                    done += part.entry.size
                    if done - told >= _TOLD_EVERY_BYTES:
                        told = done
                        fetch_context.say(f"Packed {readable_size(done)}")
                stream.write(END)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    return total


def _write_part(part: _Part, stream: IO[bytes]) -> None:
    entry = part.entry
    digest = hashlib.sha256()

    def take(chunk: bytes) -> None:
        digest.update(chunk)
        stream.write(chunk)

    stream.write(header(entry.path, entry.size))
    begin = stream.tell()
    part.write(take)
    if (stream.tell() - begin, digest.hexdigest()) != (entry.size, entry.sha256):
        raise MismatchError(
            f"{part.title} in {part.place} has sha256 {digest.hexdigest()}, not {entry.sha256}",
            remedy=f"It changed on the disk: remove {part.place} and run the command again.",
        )
    stream.write(padding(entry.size))
