"""Answers a `realize` that has nothing to do before any model of a spec or lock is imported.

After a realization the home records everything that its result depended on. If the request is
repeated and all of that is unchanged, the result is repeated. If anything differs or cannot be
checked, the normal path decides what to do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_files.files import digest_of, digests_of, replace_file
from comfy_files.user_paths import expanded
from comfy_home.layout import MARKER_NAME, UNCHANGED_NAME, find_home
from runpod_comfy.api.workspace import find_project, lock_sources, one_name, version_id_of
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree_files import tree_state
from runpod_comfy.cli.show.console import Console
from runpod_comfy.project import program_digest

if TYPE_CHECKING:
    from runpod_comfy.homes.home import Realization
    from runpod_comfy.homes.run import RealizeResult

_NOTE_SCHEMA = "runpod-comfy/unchanged/2"
_VARIABLES = ("LOCK_PATH", "MODELS_DIR", "HOME")


class Request:
    """What a command line asks for, and the state that its result depends on, at the start.

    Recorded before anything is read, so that changes during a realization are noticed the next
    time.
    """

    def __init__(self, arguments: argparse.Namespace, project: Path) -> None:
        self.started = time.monotonic()
        self._asked = _asked(arguments, project)
        self._home = find_home(_version_id(arguments), arguments.target, os.environ)
        self._sources = digests_of(_sources(arguments, project))
        self._program = program_digest()

    def answer(self, console: Console) -> bool:
        """Answers the request if nothing has changed; else says nothing and returns False."""
        try:
            note = json.loads((self._home / UNCHANGED_NAME).read_bytes())
            same = self._is_same(note)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if same:
            document = note["document"] | {"seconds": round(time.monotonic() - self.started, 3)}
            tell(document, console)
        return same

    def note(self, realization: Realization, result: RealizeResult) -> None:
        """Records what the result depended on, for the next time."""
        from runpod_comfy.cache.roots import root_file
        from runpod_comfy.homes.changes import places_of

        home, cache = realization.home, realization.cache
        marker = home.marker.read_bytes()
        manifest = json.loads(marker)
        if (manifest["lock_digest"], manifest["complete"]) != (result.lock_digest, True):
            # Another command has changed the home meanwhile.
            return
        if (manifest.get("check") or {}).get("unmet_needs"):
            # The machine may meet them the next time.
            return
        places = [
            *places_of([layer.name for layer in result.layers], home),
            root_file(cache, home.root),
            *(root_file(cache, Path(path)) for path in self._sources),
        ]
        files = self._sources | digests_of([home.marker])
        folders = _folders(realization)
        if folders is None:
            return
        if home.root != self._home or files[str(home.marker)] != digest_of(marker):
            return
        note = {
            "schema": _NOTE_SCHEMA,
            "asked": self._asked,
            "program": self._program,
            "files": files,
            "folders": folders,
            "places": {str(place): _kind(place) for place in places},
            "sizes": {
                str(home.models / model.target_path): model.size
                for model in realization.lock.models
            },
            "document": result.again().document(),
        }
        with contextlib.suppress(OSError):
            replace_file(home.root / UNCHANGED_NAME, json.dumps(note).encode())

    def _is_same(self, note: dict[str, Any]) -> bool:
        marker = str(self._home / MARKER_NAME)
        return bool(
            note["schema"] == _NOTE_SCHEMA
            and note["asked"] == self._asked
            and note["program"] == self._program
            and note["files"] == self._sources | digests_of([Path(marker)])
            and all(_kind(Path(place)) == kind for place, kind in note["places"].items())
            and all(os.stat(path).st_size == size for path, size in note["sizes"].items())  # noqa: PTH116
            and all(
                tree_state(Path(path)).digest == digest for path, digest in note["folders"].items()
            )
        )


def request_of(arguments: argparse.Namespace) -> Request | None:
    """The recorded request; None for one that always takes the normal path."""
    unusual = arguments.verbose or arguments.dry_run or arguments.update
    unusual = unusual or arguments.verify or arguments.repair or arguments.prove
    project = find_project(arguments.project)
    # The lock of a spec that is named by its file is found by what stands in it.
    elsewhere = not arguments.lock and not _spec(_version_id(arguments), project).is_file()
    if unusual or arguments.spec or elsewhere:
        return None
    try:
        return Request(arguments, project)
    except OSError:
        return None


def tell(document: dict[str, Any], console: Console) -> None:
    """Reports the result of a realization, on both paths."""
    how = f" in {document['seconds']:.1f} s" if document["changed"] else ", nothing to do"
    console.say(f"{document['version_id']}: realized{how}")
    console.result(str(document["target"]), document)


def _version_id(arguments: argparse.Namespace) -> str:
    return version_id_of(one_name(arguments.version, arguments.version_id))


def _spec(version_id: str, project: Path) -> Path:
    return project / "versions" / f"{version_id}.json"


def _asked(arguments: argparse.Namespace, project: Path) -> dict[str, str]:
    """Every option and variable that matters, with absolute paths."""
    options = {
        name: str(value.absolute() if isinstance(value, Path) else value)
        for name, value in vars(arguments).items()
        if name not in ("run", "as_json")
    }
    variables = {
        f"${name}": value
        for name, value in os.environ.items()
        if name in _VARIABLES or name.startswith("COMFY_")
    }
    return {
        **options,
        **variables,
        "project": str(project),
        # The base of relative paths in variables.
        "folder": str(Path.cwd()) if not all(map(_is_full, variables.values())) else "",
        "machine": f"{sys.platform} {os.uname().machine}",
        "wheels": str(arguments.wheels_dir is None or expanded(arguments.wheels_dir).is_dir()),
    }


def _is_full(path: str) -> bool:
    return path.startswith(("/", "~"))


def _sources(arguments: argparse.Namespace, project: Path) -> list[Path]:
    if arguments.lock:
        return [expanded(arguments.lock).absolute()]
    version_id = _version_id(arguments)
    return lock_sources(version_id, _spec(version_id, project), Cache.from_environment())


def _folders(realization: Realization) -> dict[str, str] | None:
    """The state of each folder of the version; None if one differs from the lock, which is reported
    every time, or may change without a trace.
    """
    from runpod_comfy.lock.drift.folders import locked_folders

    states = {}
    for folder in locked_folders(realization.lock, realization.fetch_context):
        try:
            # Before it is read: a change in the meantime gives another state.
            state = tree_state(folder.path)
        except OSError:
            return None
        if not state.is_settled or folder.is_changed():
            return None
        states[str(folder.path)] = state.digest
    return states


def _kind(path: Path) -> int | None:
    """Whether a path is a file or a folder; None if it does not exist."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except OSError:
        return None
