"""Install scripts of nodes: they run in an environment of the home's own, their changes are
recorded, and undone before a home is made again.

A script may write to any file, so a home in which one ran is made completely or not at all (see
`changes`), and nothing of it is shared with other homes. `images/layers/run_install.py` writes the
records.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from comfy_errors import ComfyError, InvalidInputError, OperationFailedError
from comfy_errors.names import quantity
from comfy_files.files import os_reason
from comfy_files.json_faults import faults_in_words
from comfy_files.json_model import Strict
from comfy_files.read_only import make_read_only
from comfy_files.space import share_blocks
from comfy_home.layout import DATA_FOLDERS
from comfy_home.manifest import ChangedFile
from runpod_comfy.homes.home import Home, added_by_start
from runpod_comfy.homes.script import LayerContext, build_layer
from runpod_comfy.homes.verify.listing import hash_of, write_listing
from runpod_comfy.layers.plan import Layer

_UNFINISHED = "unfinished"


class ChangedDistribution(Strict):
    """A Python distribution with its versions; None if it was not there before or after."""

    name: str
    before: str | None
    after: str | None


class ChangedFiles(Strict):
    """Paths are relative to the node's folder, the home and the environment.

    Files that were added or removed with a distribution are not listed, nor is bytecode.
    """

    node: list[ChangedFile]
    home: list[ChangedFile]
    environment: list[ChangedFile]


class InstallRecord(Strict):
    """One run of one node's install.py.

    `network` is `open`, `none`, or `refused by variables` if it could not be cut off. `exit_code`
    is a number or `timeout`. `torch_touched` has a phrase for each change to the group `torch`.
    `discarded` are files that install.py wrote into its temporary home folder.
    """

    record_schema: Literal["runpod-comfy/install-record/1"] = Field(alias="schema")
    node: str
    network: str
    exit_code: int | str
    distributions: list[ChangedDistribution]
    torch_touched: list[str]
    files: ChangedFiles
    discarded: list[str]

    def document(self) -> dict[str, object]:
        return self.model_dump(mode="json", by_alias=True)

    def in_words(self) -> str:
        """One sentence for the user."""
        told = [_moved(each) for each in self.distributions]
        counts = (
            (len(self.files.node), "in its folder"),
            (len(self.files.home), "elsewhere in the home"),
            (len(self.files.environment), "in the environment"),
        )
        told += [f"{quantity(number, 'file')} {where}" for number, where in counts if number]
        return f"install.py of {self.node} changed " + (", ".join(told) or "nothing")


def _moved(each: ChangedDistribution) -> str:
    if each.before is None:
        return f"{each.name} (new: {each.after})"
    return f"{each.name} ({each.before} → {each.after or 'gone'})"


def read_install_record(home: Home, node: str) -> InstallRecord | None:
    """The record of a node's install.py, None if it never finished.

    Raises InvalidInputError if the record cannot be read.
    """
    path = home.install_records / f"{node}.json"
    try:
        return InstallRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        fault = faults_in_words(error) if isinstance(error, ValidationError) else os_reason(error)
        raise InvalidInputError(
            f"the record of install.py at {path} cannot be read: {fault}",
            remedy="Remove the version and realize it again.",
        ) from error


def added_files(home: Home) -> set[Path]:
    """The files that install scripts added to `ComfyUI/`, according to the records."""
    records = [
        read_install_record(home, path.stem) for path in sorted(home.install_records.glob("*.json"))
    ]
    nodes = Path("ComfyUI/custom_nodes")
    return {
        home.root / path
        for record in records
        if record
        for path, change in (
            *((Path(file.path), file.change) for file in record.files.home),
            *((nodes / record.node / file.path, file.change) for file in record.files.node),
        )
        if change == "added" and path.parts[0] == "ComfyUI"
    }


def files_before(home: Home) -> set[Path] | None:
    """The files in the home before an install script that did not finish; None if there is none."""
    try:
        before = json.loads((home.install_records / _UNFINISHED).read_bytes())
    except FileNotFoundError:
        return None
    return {home.root / path for path in before}


def run_install_script(layer: Layer, context: LayerContext) -> InstallRecord:
    """Makes a layer of the kind `install`; returns what it changed.

    Raises OperationFailedError if the script failed or touched the group `torch`. The home is then
    incomplete, and the next run makes it again.
    """
    node = layer.environment["NODE_NAME"]
    copied = own_environment(context.job.home)
    if copied:
        context.job.say(
            f"Copying {quantity(copied, 'file')} of the environment, because install scripts may "
            "write to it"
        )
    try:
        build_layer(layer, context)
    except ComfyError as error:
        record = read_install_record(context.job.home, node)
        if record and record.torch_touched:
            raise OperationFailedError(
                f"install.py of {node} changed the torch group, which is pinned: "
                + ", ".join(record.torch_touched),
                remedy=f"Remove '{node}' from 'options.run_install_scripts' and resolve again, "
                "or ask its author for a script that leaves torch alone. This home is not used: "
                "the next run makes it again.",
            ) from error
        raise OperationFailedError(
            error.message,
            remedy=f"The whole output is in {context.log_of(layer)}. Fix the cause, then run the "
            "command again: it makes this home again.",
        ) from error
    record = read_install_record(context.job.home, node)
    if record is None:
        raise OperationFailedError(
            f"install.py of {node} left no record of what it changed",
            remedy="Run the command again: it makes this home again.",
        )
    write_listing(context.job.home.venv)
    if not context.job.lock.writable_environment:
        make_read_only(context.job.home.venv)
    return record


def own_environment(home: Home) -> int:
    """Makes the home's environment writable, with copies of the files that are shared with a cache;
    returns how many.

    Each is replaced atomically, so this can be killed and run again.
    """
    return _own_files(str(home.venv))


def _own_files(folder: str) -> int:
    copied = 0
    _let_write(folder)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                copied += _own_files(entry.path)
            elif entry.is_file(follow_symlinks=False):
                if entry.stat().st_nlink > 1:
                    copy = f"{entry.path}.comfy_copy"
                    _copy_file(entry.path, copy)
                    Path(copy).replace(entry.path)
                    copied += 1
                _let_write(entry.path)
    return copied


def _let_write(path: str) -> None:
    mode = stat.S_IMODE(os.stat(path).st_mode)  # noqa: PTH116
    os.chmod(path, mode | stat.S_IWUSR)  # noqa: PTH101


def _copy_file(source: str, target: str) -> None:
    try:
        share_blocks(Path(source), Path(target))
    except OSError:
        shutil.copyfile(source, target)
    shutil.copystat(source, target)


def undo_install_scripts(home: Home) -> None:
    """Removes what install scripts added to `ComfyUI/` beside the core and the nodes.

    Files they changed are restored by the layers that own them; files they put among the user's own
    files are kept.
    """
    if not home.install_records.exists():
        return
    added = added_files(home)
    before = files_before(home)
    if before is not None:
        # A script was interrupted before its changes were recorded. A node that the user has added
        # since is not mistaken for its work.
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


def undo_start(home: Home) -> None:
    """Removes what the engine's start added to `ComfyUI/` when it was checked, if it is unchanged:
    the next start adds it again if it still belongs to the version.
    """
    for path, file in added_by_start(home).items():
        if path.is_symlink() if file.sha256 is None else hash_of(path) == file.sha256:
            path.unlink(missing_ok=True)
            bytecode = path.parent / "__pycache__"
            for outdated in bytecode.glob(f"{path.stem}.*.pyc"):
                outdated.unlink()
            _remove_empty(bytecode, home)


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
        except FileNotFoundError:
            pass
        except OSError:
            return
        folder = folder.parent
