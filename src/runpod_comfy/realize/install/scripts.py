"""Install scripts of nodes: they run in an environment that is the home's alone, and what they did
is undone before a home is made anew.

A script may write to any file, so a home in which one ran is made as a whole or not at all (see
`pending`), and nothing of it is kept for other homes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from comfy_errors import ComfyError, OperationFailedError
from runpod_comfy.layers.plan import Layer
from runpod_comfy.realize.environment.listing import write_listing
from runpod_comfy.realize.home import DATA_FOLDERS, Home
from runpod_comfy.realize.install.record import (
    InstallRecord,
    added_files,
    files_before,
    read_install_record,
)
from runpod_comfy.realize.job import LayerContext
from runpod_comfy.realize.layer import build_layer

_FICLONE = 0x40049409
"""Of Linux; other systems do not know it, and refuse it."""


def run_install_script(layer: Layer, context: LayerContext) -> InstallRecord:
    """Makes a layer of the kind `install`; gives what it changed.

    Raises OperationFailedError if the script failed or touched the group `torch`. The home is
    then not whole, and is made anew by the next run.
    """
    node = layer.environment["NODE_NAME"]
    copied = own_environment(context.job.home)
    if copied:
        context.job.say(
            f"{copied} files of the environment are copied: install scripts may write to them"
        )
    try:
        build_layer(layer, context)
    except ComfyError as error:
        record = read_install_record(context.job.home, node)
        if record and record.torch_touched:
            raise OperationFailedError(
                f"install.py of {node} touched the torch group, which is pinned: "
                + ", ".join(record.torch_touched),
                remedy=f"Take '{node}' out of 'options.run_install_scripts' and resolve again, "
                "or ask its author for a script that leaves torch alone. Nothing of this home is "
                "used: the next run makes it anew.",
            ) from error
        raise OperationFailedError(
            error.message,
            remedy=f"The whole output is in {context.log_of(layer)}. When its cause is gone, run "
            "the command again: it makes this home anew.",
        ) from error
    record = read_install_record(context.job.home, node)
    if record is None:
        raise OperationFailedError(
            f"install.py of {node} left no record of what it changed",
            remedy="Run the command again: it makes this home anew.",
        )
    write_listing(context.job.home.venv)
    return record


def own_environment(home: Home) -> int:
    """Gives the home files of its own in place of those that it shares with a cache; how many.

    Each is replaced by a copy in one step, so this can be killed and run again.
    """
    return _own_files(str(home.venv))


def _own_files(folder: str) -> int:
    copied = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                copied += _own_files(entry.path)
            elif entry.is_file(follow_symlinks=False) and entry.stat().st_nlink > 1:
                copy = f"{entry.path}.comfy_copy"
                _copy_file(entry.path, copy)
                Path(copy).replace(entry.path)
                copied += 1
    return copied


def _copy_file(source: str, target: str) -> None:
    with Path(source).open("rb") as original, Path(target).open("wb") as copy:
        try:
            # Blocks are shared until one of the two is written to, where the file system can.
            fcntl.ioctl(copy.fileno(), _FICLONE, original.fileno())
        except OSError:
            shutil.copyfile(source, target)
    shutil.copystat(source, target)


def undo_install_scripts(home: Home) -> None:
    """Removes what install scripts added to `ComfyUI/` beside the core and the nodes.

    What they changed comes back with the layers that own it; what they put where people keep
    their files stays.
    """
    if not home.install_records.exists():
        return
    added = added_files(home)
    before = files_before(home)
    if before is not None:
        # A script was cut short, and nobody noted what it had done so far. A node that a person
        # has put there since is not taken for its work.
        added |= {
            path
            for path in _files(home.comfyui)
            if path not in before and home.custom_nodes not in path.parents
        }
    for path in added:
        if path.relative_to(home.comfyui).parts[0] not in DATA_FOLDERS:
            path.unlink(missing_ok=True)
            _remove_empty(path.parent, home)
    shutil.rmtree(home.install_scratch, ignore_errors=True)
    shutil.rmtree(home.install_records)


def _files(folder: Path) -> set[Path]:
    return {
        Path(parent) / name
        for parent, _folders, names in os.walk(folder)
        for name in names
        if not name.endswith(".pyc")
    }


def _remove_empty(folder: Path, home: Home) -> None:
    while folder not in (home.comfyui, home.custom_nodes):
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
