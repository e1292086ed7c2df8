"""Version → bundle: its lock, spec, trees, wheels and models in one file."""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from comfy_errors import InvalidInputError, MismatchError, UnavailableError
from comfy_errors.names import in_lines
from comfy_files.files import COPY_BYTES, can_write, disk_errors, sha256_of, write_hashed
from comfy_files.progress import UNSEEN, Progress, Say, counted, readable_size, when_slow
from comfy_files.space import require_room, size_of
from comfy_home.tree_hash import tree_hash
from comfy_http.redaction import without_secrets
from comfy_models.search import local_files
from comfy_models.store import ModelStore
from runpod_comfy.bundle.format import (
    END,
    LOCK,
    SPEC,
    BundleSummary,
    Entry,
    Index,
    Part,
    parts_of,
    summary_of,
    tree_path,
)
from runpod_comfy.bundle.reader import is_bundle
from runpod_comfy.cache.tree import FetchContext, FetchedTree
from runpod_comfy.cache.tree_files import add_tree
from runpod_comfy.lock.model import Lock, LockedTree, PythonLock
from runpod_comfy.lock.python.wheels import absent_bytes, bring_wheels, platform_files
from runpod_comfy.sources.kinds import source_of

_ROOM = "Free some space, or name another place with --output or COMFY_CACHE_ROOT."


@dataclass(frozen=True, kw_only=True)
class BundleRequest:
    """`spec` is the content of the spec that `lock` belongs to. `models_dir` is a models folder to
    search besides the store; `models` says whether to include models. `handler` are the handler's
    packages, for a platform that images are built for.
    """

    lock: Lock
    spec: bytes
    platform: str
    models: bool = True
    models_dir: Path | None = None
    handler: PythonLock | None = None


def create_bundle(
    request: BundleRequest,
    target: Path,
    fetch_context: FetchContext,
    *,
    progress: Progress = UNSEEN,
) -> BundleSummary:
    """Writes the bundle to the file `target`, replacing an older bundle atomically. A request gives
    the same bytes on any machine.

    Anything not cached is fetched. Raises what `require_target` raises, InvalidInputError for a
    platform that is not in the lock, UnavailableError or MismatchError naming what cannot be
    fetched, OperationFailedError if the disk is full.
    """
    lock = request.lock
    if request.platform not in lock.python.platforms:
        raise InvalidInputError(
            f"the version {lock.version_id} is locked for {', '.join(lock.python.platforms)}, "
            f"not for {request.platform}",
            remedy="Use one of them with --platform, or add it to 'options.platforms' and "
            "resolve again.",
        )
    require_target(target)
    wheels = platform_files(lock.python, request.platform)
    handler = platform_files(request.handler, request.platform) if request.handler else []
    models = _model_files(request, fetch_context) if request.models else {}
    with when_slow(fetch_context.say, "Hashing the trees"):
        trees = [_fetch(tree, fetch_context) for tree in lock.trees]
    packages = [*wheels, *handler]
    whole_bytes = sum(each.file.size or 0 for each in packages)
    whole_bytes += sum(path.stat().st_size for path in models.values())
    require_room(
        [
            # A tree is packed beside the bundle first.
            (target.parent, whole_bytes + 2 * sum(size_of(tree.path) for tree in trees)),
            (fetch_context.cache.archives, absent_bytes(packages, fetch_context.cache)),
        ],
        remedy=_ROOM,
    )
    archives = bring_wheels(packages, lock.python.torch_index, fetch_context)
    with _workbench(target, fetch_context) as bench:
        (bench / LOCK).write_bytes(lock.to_bytes())
        (bench / SPEC).write_bytes(request.spec)
        files = {
            LOCK: bench / LOCK,
            SPEC: bench / SPEC,
            **_packed(lock, trees, bench),
            **{f"wheels/{each.file.sha256}": archives[each.file.sha256] for each in packages},
            **{f"models/{sha256}": models[sha256] for sha256 in sorted(models)},
        }
        handler_files = [each.file for each in handler]
        parts = parts_of(lock, handler_files)
        index = Index(
            platform=request.platform,
            models=request.models,
            epochs=[tree.epoch for tree in trees],
            handler=handler_files,
            entries=[
                Entry(
                    path=path,
                    size=file.stat().st_size,
                    sha256=parts[path].sha256 or sha256_of(file),
                )
                for path, file in files.items()
            ],
        )
        whole = bench / "whole"
        require_room([(target.parent, index.size_of_bundle())], remedy=_ROOM)
        _write(index, parts, files, whole, fetch_context.say, progress)
        whole.replace(target)
    return summary_of(index, lock)


def require_target(target: Path) -> None:
    """Raises InvalidInputError for a folder or a file that is not a bundle, UnavailableError if
    its folder cannot be written to.
    """
    if target.is_dir():
        raise InvalidInputError(
            f"{target} is a folder", remedy="Name the file to write with --output."
        )
    if target.exists() and not is_bundle(target):
        raise InvalidInputError(
            f"{target} already exists and is not a bundle; it was left alone",
            remedy="Name another file with --output, or remove this one.",
        )
    if not can_write(target.parent):
        raise UnavailableError(
            f"{target.parent} cannot be written to",
            remedy="Name a file elsewhere with --output, or change the folder's permissions.",
        )


@contextlib.contextmanager
def _workbench(target: Path, fetch_context: FetchContext) -> Iterator[Path]:
    """A folder beside the target that only this process uses, removed at the end.

    Its name is fixed, so that killed commands leave one folder behind, not many.
    """
    bench = target.with_name(f".{target.name}.parts")
    cache, say = fetch_context.cache, fetch_context.say
    alone = cache.key_lock(str(bench.absolute()), what=str(target), say=say)
    with disk_errors(f"{target} could not be written"), alone:
        shutil.rmtree(bench, ignore_errors=True)
        bench.mkdir(parents=True)
        try:
            yield bench
        finally:
            shutil.rmtree(bench, ignore_errors=True)


def _packed(lock: Lock, trees: list[FetchedTree], bench: Path) -> dict[str, Path]:
    """Each tree as a tar file; its hash and size are only known when it is complete."""
    (bench / "trees").mkdir()
    folders = {
        tree_path(tree): fetched.path for tree, fetched in zip(lock.trees, trees, strict=True)
    }
    for path, folder in folders.items():
        with tarfile.open(bench / path, "w", format=tarfile.GNU_FORMAT) as archive:
            add_tree(archive, folder)
    return {path: bench / path for path in sorted(folders)}


def _fetch(tree: LockedTree, fetch_context: FetchContext) -> FetchedTree:
    fetched = source_of(tree.kind).fetch(tree.request, fetch_context)
    # Hashed again: what goes to another machine must match the lock.
    found = tree_hash(fetched.path)
    if found != tree.tree_hash:
        raise MismatchError(
            f"the files of {without_secrets(tree.repo)} at {tree.commit} in {fetched.path} are "
            f"{found}, but the lock has {tree.tree_hash}",
            remedy=f"Remove {fetched.path} so that they are fetched again, or resolve the "
            "version again.",
        )
    return fetched


def _model_files(request: BundleRequest, fetch_context: FetchContext) -> dict[str, Path]:
    """The file of each model by sha256: from the store, the models folder or the model's source."""
    store = ModelStore(fetch_context.cache.models)
    found: dict[str, Path] = {}
    missing = []
    for model in request.lock.models:
        places = [
            store.path_of(model.sha256),
            request.models_dir / model.target_path if request.models_dir else None,
            *local_files(model, fetch_context.base_dir),
        ]
        there = (path for path in places if path and path.is_file())
        path = next((path for path in there if path.stat().st_size == model.size), None)
        if path is None:
            source = without_secrets(model.sources[0].url)
            missing.append(f"{model.name} ({readable_size(model.size)}), from {source}")
        else:
            found[model.sha256] = path
    if missing:
        raise UnavailableError(
            f"missing models:{in_lines(missing)}",
            remedy="Realize the version first, which stores them, or leave them out with "
            "--without-models.",
        )
    return found


def _write(
    index: Index,
    parts: Mapping[str, Part],
    files: Mapping[str, Path],
    whole: Path,
    say: Say,
    progress: Progress,
) -> None:
    say(f"Packing {len(files)} parts, {readable_size(index.size_of_bundle())}")
    size_bytes = sum(entry.size for entry in index.entries)
    progress.expect("parts", count=len(index.entries), size_bytes=size_bytes)
    with whole.open("wb") as stream:
        stream.write(index.beginning())
        for entry in index.entries:
            stream.write(entry.header)
            file = files[entry.path]
            with file.open("rb") as source:
                chunks = iter(partial(source.read, COPY_BYTES), b"")
                sha256, written = write_hashed(counted(chunks, "parts", progress), stream)
            if (sha256, written) != (entry.sha256, entry.size):
                raise MismatchError(
                    f"{parts[entry.path].title} in {file} has sha256 {sha256}, not {entry.sha256}",
                    remedy=f"It changed on the disk: remove {file} and run the command again.",
                )
            stream.write(entry.padding)
            progress.arrived("parts", count=1)
        stream.write(END)
        stream.flush()
        os.fsync(stream.fileno())
