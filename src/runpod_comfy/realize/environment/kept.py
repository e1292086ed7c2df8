"""Python environments in the cache, by the keys of the layers that make them.

An environment is made there, by the layer scripts, and each home gets hard links to its files: most
of the time that one takes is spent on bytecode. It is relocatable and its files depend on no place.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from comfy_files.atomic import place_folder
from comfy_files.parallel import interrupted
from comfy_files.sizes import readable_size
from runpod_comfy.cache.key_lock import key_lock
from runpod_comfy.cache.paths import Cache
from runpod_comfy.layers.plan import Layer
from runpod_comfy.realize.environment.listing import write_listing
from runpod_comfy.realize.environment.packages import NeededFile
from runpod_comfy.realize.home import Home
from runpod_comfy.realize.job import LayerContext
from runpod_comfy.realize.layer import build_layer
from runpod_comfy.realize.progress import Downloads

LinkMode = Literal["hardlink", "copy"]

_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}


def has_environment(layers: Sequence[Layer], cache: Cache) -> bool:
    """Whether the cache has what these layers make; not one whose interpreter is gone."""
    return (environment_entry(layers, cache) / "bin" / "python").exists()


def make_environment(
    layers: Sequence[Layer], packages: Sequence[NeededFile], context: LayerContext
) -> dict[str, float]:
    """Makes the environment of `layers` (torch, wheels) of `packages`, if the cache has none.

    Gives the seconds that each layer took; nothing where nothing was made.
    """
    job = context.job
    cache = job.cache
    if not layers or has_environment(layers, cache):
        return {}
    entry = environment_entry(layers, cache)
    with key_lock(cache, str(entry), what="the same Python environment", say=job.say):
        if has_environment(layers, cache):
            return {}
        with tempfile.TemporaryDirectory(dir=cache.tmp, prefix="environment-") as folder:
            whole = Path(folder) / ".venv"
            # They outlive a failure, for people to read, until `gc`. No other environment has
            # them, not one with the same wheels and another PyTorch that is made at this moment.
            logs = cache.tmp / f"{entry.name}-logs"
            missing = [file for file in packages if not file.cached]
            seconds = _build(layers, missing, replace(context, venv=whole, logs=logs))
            write_listing(whole)
            shutil.rmtree(logs, ignore_errors=True)
            if entry.exists():
                entry.rename(Path(folder) / "outdated")
            place_folder(whole, entry)
    return seconds


def _build(
    layers: Sequence[Layer], missing: Sequence[NeededFile], context: LayerContext
) -> dict[str, float]:
    if missing:
        size = readable_size(sum(file.size_bytes or 0 for file in missing))
        context.job.say(f"Fetching {len(missing)} Python packages, {size}")
    downloads = Downloads(missing, context.job.progress)
    seconds: dict[str, float] = {}
    for layer in layers:
        started = time.monotonic()
        context.job.say(f"Layer {layer.name}")
        build_layer(layer, context, hear=downloads.hear)
        seconds[layer.name] = time.monotonic() - started
    downloads.finish()
    return seconds


def put_environment(layers: Sequence[Layer], home: Home, cache: Cache) -> LinkMode:
    """Gives `home` the environment of these layers, in place of what lay there.

    Its files are hard links to those of the cache, or copies where that cannot be.
    """
    entry = environment_entry(layers, cache)
    shutil.rmtree(home.venv_staging, ignore_errors=True)
    linked = link_tree(entry, home.venv_staging)
    if not linked:
        shutil.copytree(entry, home.venv_staging, symlinks=True)
    if home.venv.exists():
        shutil.rmtree(home.venv)
    home.venv_staging.replace(home.venv)
    return "hardlink" if linked else "copy"


def environment_entry(layers: Sequence[Layer], cache: Cache) -> Path:
    """Where the environment that these layers make lies, or would lie."""
    keys = "\n".join(layer.key for layer in layers)
    return cache.environments / hashlib.sha256(keys.encode()).hexdigest()


def link_tree(source: Path, target: Path) -> bool:
    """Makes `target` a tree like `source` whose files are hard links; False if that cannot be."""
    try:
        _link_folder(str(source), str(target))
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        shutil.rmtree(target, ignore_errors=True)
        return False
    return True


def _link_folder(source: str, target: str) -> None:
    # 40,000 files: plain strings and scandir take a third of the time that pathlib takes.
    if interrupted():
        raise KeyboardInterrupt
    os.mkdir(target)  # noqa: PTH102
    with os.scandir(source) as entries:
        for entry in entries:
            place = f"{target}/{entry.name}"
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), place)  # noqa: PTH115, PTH211
            elif entry.is_dir(follow_symlinks=False):
                _link_folder(entry.path, place)
            else:
                os.link(entry.path, place)
    of = os.stat(source)  # noqa: PTH116
    os.chmod(target, stat.S_IMODE(of.st_mode))  # noqa: PTH101
    os.utime(target, ns=(of.st_atime_ns, of.st_mtime_ns))
