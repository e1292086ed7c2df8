"""Trees with their bytecode, in the cache: `compiled/<tree hash>-<Python>-<compiler>/`.

Compiling ComfyUI itself takes longer than all else that a new version takes from full caches. A
layer script gets such a tree as its input, finds bytecode there, and has nothing to compile.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from comfy_files.atomic import place_folder
from runpod_comfy.cache.key_lock import key_lock
from runpod_comfy.cache.paths import Cache
from runpod_comfy.checkout import LAYER_SCRIPTS
from runpod_comfy.realize.environment.interpreter import find_interpreter
from runpod_comfy.realize.environment.kept import link_tree
from runpod_comfy.realize.environment.uv import outside_variables
from runpod_comfy.realize.script import run_script

_COMPILER = LAYER_SCRIPTS / "compile_bytecode.py"


def compiled_tree(
    folder: Path, tree_hash: str, *, python_version: str, cache: Cache, keep_open: Sequence[int]
) -> Path:
    """The tree in `folder` with bytecode for Python `python_version`, made if it is not there.

    Where its files cannot be shared it is `folder` itself, and the layer script compiles.
    """
    compiler = hashlib.sha256(_COMPILER.read_bytes()).hexdigest()[:8]
    entry = cache.compiled / f"{tree_hash.replace(':', '-')}-{python_version}-{compiler}"
    if entry.is_dir():
        return entry
    with key_lock(cache, str(entry)):
        if entry.is_dir():
            return entry
        with tempfile.TemporaryDirectory(dir=cache.tmp, prefix="compile-") as bench:
            whole = Path(bench) / "tree"
            if not link_tree(folder, whole):
                return folder
            _make_writable(whole)
            log = cache.tmp / f"{entry.name}.log"
            run_script(
                [str(find_interpreter(python_version)), "-B", "-I", str(_COMPILER), str(whole)],
                title=f"compiling {folder.name}",
                environment=outside_variables(),
                log=log,
                keep_open=keep_open,
            )
            log.unlink()
            place_folder(whole, entry)
    return entry


def _make_writable(folder: Path) -> None:
    for parent, _folders, _files in os.walk(folder):
        Path(parent).chmod(0o755)
