"""Fetches everything that a realization needs into the caches, in parallel.

The home is not changed: anything unavailable is reported before anything is made there.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.utils import canonicalize_name

from comfy_errors.names import quantity
from comfy_files.files import place_folder, sha256_of
from comfy_files.parallel import in_parallel
from comfy_files.progress import SLOW_S, Progress, Say, readable_size, say_nothing, when_slow
from comfy_files.read_only import make_read_only
from runpod_comfy.homes.changes import Changes
from runpod_comfy.homes.environment import (
    Package,
    environment_entry,
    find_interpreter,
    find_stand_ins,
    has_environment,
    link_tree,
    record_stand_ins,
)
from runpod_comfy.homes.home import Realization
from runpod_comfy.homes.models import bring_models
from runpod_comfy.homes.script import (
    CONTROL_SEQUENCE,
    LayerContext,
    build_layer,
    notes_in,
    run_script,
)
from runpod_comfy.homes.verify.listing import write_listing
from runpod_comfy.layers.inputs import fetch_trees
from runpod_comfy.layers.plan import ENVIRONMENT, Layer
from runpod_comfy.lock.model import LockedTree
from runpod_comfy.project import LAYER_SCRIPTS
from runpod_comfy.sources.index.pip_settings import outside_variables

# Beside the listing of an environment: what is said of it, also where it comes from the cache.
_NOTES = "comfy-notes.txt"
_COMPILER = LAYER_SCRIPTS / "compile_bytecode.py"


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """`trees` are folders with bytecode, by tree hash; `seconds` are how long each layer of the
    environment took, if it was made now.
    """

    trees: Mapping[str, Path]
    seconds: Mapping[str, float]


def fetch(changes: Changes, context: LayerContext) -> Fetched:
    """Fetches and compiles trees, makes the environment, and fetches models, all in parallel.

    The first error cancels the rest and is raised: see the three functions.
    """
    job = context.job
    trees: dict[str, Path] = {}
    seconds: dict[str, float] = {}
    environment = [layer for layer in changes.pending if layer.kind in ENVIRONMENT]

    def compiled(folder: Path, tree: LockedTree) -> Path:
        whole = _compiled_tree(folder, tree, job, context.lock_fds)
        job.progress.arrived("trees", count=1)
        return whole

    def fetch_and_compile() -> None:
        job.progress.expect("trees", count=sum(layer.tree is not None for layer in changes.pending))
        trees.update(fetch_trees(changes.pending, job.lock, job.fetch_context, compiled))

    parts: list[Callable[[], object]] = [
        lambda: bring_models(
            job.lock.models,
            job.model_folders,
            base_dir=job.base_dir,
            offline=job.offline,
            say=job.say,
            progress=job.progress,
        ),
        fetch_and_compile,
        lambda: seconds.update(_make_environment(environment, context)),
    ]
    in_parallel(lambda part: part(), parts, give_up=True)
    return Fetched(trees=trees, seconds=seconds)


def _make_environment(layers: Sequence[Layer], context: LayerContext) -> dict[str, float]:
    """Makes the environment of `layers` (torch, wheels), if the cache has none.

    Returns the seconds that each layer took; empty if nothing was made.
    """
    job = context.job
    cache = job.cache
    if not layers:
        return {}
    entry = environment_entry(layers, cache)
    if has_environment(layers, cache):
        for note in _notes_of(entry):
            job.say(note)
        return {}
    with cache.key_lock(str(entry), what="the same Python environment", say=job.say):
        if has_environment(layers, cache):
            return {}
        with cache.scratch("environment") as folder:
            whole = folder / ".venv"
            # Logs outlive a failure, for the user to read, until `gc`. Their folder is unique to
            # this environment, even if one with the same wheels and another PyTorch is made at the
            # same time.
            logs = cache.tmp / f"{entry.name}-logs"
            missing = [each for each in context.packages if not each.cached]
            given = find_stand_ins(context.packages, job.wheels_dir, python=job.lock.python.version)
            for each in given:
                job.say(each.sentence)
            beside = replace(context, venv=whole, logs=logs, stand_ins=given)
            seconds = _build(layers, missing, beside)
            notes = [each.sentence for each in given]
            notes += [note for layer in layers for note in notes_in(beside.log_of(layer))]
            if notes:
                (whole / _NOTES).write_text("".join(f"{note}\n" for note in notes), "utf-8")
            record_stand_ins(whole, given)
            with when_slow(job.say, "Hashing the files of the Python environment"):
                write_listing(whole)
            make_read_only(whole)
            shutil.rmtree(logs, ignore_errors=True)
            if entry.exists():
                entry.rename(folder / "outdated")
            place_folder(whole, entry)
    return seconds


def _notes_of(environment: Path) -> list[str]:
    """What was said when this environment was made."""
    notes = environment / _NOTES
    return notes.read_text("utf-8").splitlines() if notes.exists() else []


def _build(
    layers: Sequence[Layer], missing: Sequence[Package], context: LayerContext
) -> dict[str, float]:
    if missing:
        size = readable_size(sum(each.size_bytes for each in missing))
        context.job.say(f"Fetching {quantity(len(missing), 'Python package')}, {size}")
    progress = context.job.progress
    downloads = Downloads(missing, progress, context.job.say)
    seconds: dict[str, float] = {}
    for layer in layers:
        started = time.monotonic()
        context.job.say(f"Layer {layer.name}")
        build_layer(layer, context, on_output=downloads.handle if progress.is_seen else None)
        seconds[layer.name] = time.monotonic() - started
        for note in notes_in(context.log_of(layer)):
            context.job.say(note)
        if seconds[layer.name] > SLOW_S:
            context.job.say(f"Layer {layer.name} took {seconds[layer.name]:.0f} s")
    downloads.finish()
    return seconds


def _compiled_tree(
    folder: Path, tree: LockedTree, job: Realization, keep_open: Sequence[int]
) -> Path:
    """The tree in `folder` with its bytecode, at `compiled/<hash>-<Python>-<compiler>/` in the
    cache, so that the layer script need not compile it, which takes longer than everything else.

    If its files cannot be shared this is `folder` itself, and the layer script compiles it.
    """
    python, cache = job.lock.python.version, job.cache
    compiler = sha256_of(_COMPILER)[:8]
    entry = cache.compiled / f"{tree.tree_hash.replace(':', '-')}-{python}-{compiler}"
    if entry.is_dir():
        return entry
    with cache.key_lock(str(entry)):
        if entry.is_dir():
            return entry
        with cache.scratch("compile") as scratch:
            whole = scratch / "tree"
            if not link_tree(folder, whole):
                return folder
            for parent, _folders, _files in os.walk(whole):
                Path(parent).chmod(0o755)
            log = cache.tmp / f"{entry.name}.log"
            with when_slow(job.say, f"Compiling {folder.name}"):
                run_script(
                    [str(find_interpreter(python)), "-B", "-I", str(_COMPILER), str(whole)],
                    title=f"compiling {folder.name}",
                    environment=outside_variables(),
                    log=log,
                    keep_open=keep_open,
                )
            log.unlink()
            place_folder(whole, entry)
    return entry


class Downloads:
    """The packages that uv downloads, read from the progress bars that uv draws on a terminal.

    A bar has a package's name and its bytes, and goes when the package is here; packages below a
    megabyte have none. Each drawing begins with how many packages are prepared.
    """

    _DRAWING = b"Preparing packages..."
    _END = b"Prepared "
    _INSTALLED = re.compile(rb"Installed (\d+) packages?")
    _COUNT = re.compile(rb" \((\d+)/\d+\)")
    _BAR = re.compile(rb"([A-Za-z0-9][\w.-]*) +-+ +([\d.]+) ([KMG]i)?B/([\d.]+) ([KMG]i)?B")

    def __init__(
        self, packages: Sequence[Package], progress: Progress, say: Say = say_nothing
    ) -> None:
        self._say = say
        self._sizes: dict[str, int] = {
            canonicalize_name(each.name): each.size_bytes for each in packages
        }
        self._progress = progress
        self._rest = b""
        self._prepared = self._counted = 0
        self._here: dict[str, int] = {}
        self._drawn: set[str] = set()
        progress.expect("packages", count=len(self._sizes), size_bytes=sum(self._sizes.values()))

    def handle(self, output: bytes) -> None:
        """Reads the installer's output, in chunks."""
        if found := self._INSTALLED.search(CONTROL_SEQUENCE.sub(b"", output)):
            # What comes next is silent, and takes a minute for a PyTorch with CUDA.
            self._say(f"Compiling {quantity(int(found.group(1)), 'package')}")
        before, *drawings = (self._rest + output).split(self._DRAWING)
        if not drawings:
            self._rest = before[-len(self._DRAWING) :]
            return
        # Only what comes after a drawing tells that it is whole.
        self._rest = self._DRAWING + drawings.pop()
        if self._END in self._rest:
            drawings.append(self._rest.removeprefix(self._DRAWING).partition(self._END)[0])
            self._rest = b""
        for drawing in drawings:
            self._take(CONTROL_SEQUENCE.sub(b"", drawing))

    def finish(self) -> None:
        """Counts all packages as installed."""
        self._arrive(len(self._sizes), self._sizes)

    def _take(self, drawing: bytes) -> None:
        count = self._COUNT.match(drawing)
        if count is None:
            return
        prepared = int(count.group(1))
        counted = self._counted + max(0, prepared - self._prepared)
        # The next layer counts from nothing again.
        self._prepared = prepared
        here = {name: self._sizes.get(name, 0) for name in self._drawn}
        self._drawn = set()
        for name, done, done_unit, whole, whole_unit in self._BAR.findall(drawing):
            normal = canonicalize_name(name.decode())
            share = _bytes(done, done_unit) / max(1.0, _bytes(whole, whole_unit))
            here[normal] = round(self._sizes.get(normal, 0) * min(1.0, share))
            self._drawn.add(normal)
        self._arrive(min(counted, len(self._sizes)), here)

    def _arrive(self, counted: int, here: Mapping[str, int]) -> None:
        before = sum(self._here.values())
        for name, size in here.items():
            self._here[name] = max(size, self._here.get(name, 0))
        new = sum(self._here.values()) - before
        if new or counted > self._counted:
            self._progress.arrived("packages", count=counted - self._counted, size_bytes=new)
        self._counted = counted


def _bytes(number: bytes, unit: bytes) -> float:
    return float(number) * {b"": 1, b"Ki": 1 << 10, b"Mi": 1 << 20, b"Gi": 1 << 30}[unit]
