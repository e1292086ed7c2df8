"""Finished Python environments in the cache, by the keys of the layers that made them.

An environment is made here, by the layer scripts, and each home gets hard links to its files: most
of the time that one takes is spent on bytecode. It is relocatable and its files depend on no place.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from comfy_files.atomic import place_folder
from comfy_files.parallel import interrupted
from comfy_files.progress import Say
from runpod_comfy.cache.key_lock import key_lock
from runpod_comfy.cache.paths import Cache
from runpod_comfy.layers.layer import Layer
from runpod_comfy.realize.home import Home

LinkMode = Literal["hardlink", "copy"]

_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}


def has_environment(layers: Sequence[Layer], cache: Cache) -> bool:
    """Whether the cache has what these layers make; not one whose interpreter is gone."""
    return (environment_entry(layers, cache) / "bin" / "python").exists()


@contextlib.contextmanager
def environment_to_make(layers: Sequence[Layer], cache: Cache, say: Say) -> Iterator[Path | None]:
    """A place for the environment of these layers, which is kept when the block ends well.

    None if it is there, made by another command while this one waited.
    """
    entry = environment_entry(layers, cache)
    what = "the same Python environment"
    with key_lock(cache, str(entry), what=what, say=say):
        if has_environment(layers, cache):
            yield None
            return
        cache.tmp.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.tmp, prefix="environment-") as folder:
            whole = Path(folder) / ".venv"
            yield whole
            if entry.exists():
                entry.rename(Path(folder) / "outdated")
            place_folder(whole, entry)


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
