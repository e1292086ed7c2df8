"""How the engine of a home is started: its folders, and models folders outside the home."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from comfy_files.files import can_write
from comfy_home.manifest import Manifest
from comfy_workflows.model_files import ModelFolders
from rp_handler.engine.command import LOOPBACK, EngineSetup, read_only_folders
from rp_handler.home.realized import Home


@contextlib.contextmanager
def engine_setup(
    home: Home,
    *,
    keeps_outputs: bool = False,
    listen: str = LOOPBACK,
    input_folder: Path | None = None,
) -> Iterator[EngineSetup]:
    """The engine of `home`, set up from its manifest, with the home's inputs or those of another
    `input_folder`.

    Without `keeps_outputs`, the outputs folder and the database are temporary: ComfyUI numbers new
    files after the existing ones. Folders that are not writable, as in a container with a read-only
    root, are replaced by temporary ones.
    """
    check = home.manifest.check
    inputs = home.root / "input"
    user = _writable(home.root / "user")
    with contextlib.ExitStack() as stack:
        paths = None
        if any((home.other_models, home.linked_models, home.job_models)):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="comfy-models-"))
            paths = Path(folder, "extra_model_paths.yaml")
            folders = home.model_folders()
            write_model_paths(
                paths,
                home.other_models,
                folders,
                links=home.linked_models,
                of_jobs=home.job_models,
            )
        yield EngineSetup(
            core=home.comfyui,
            python=home.python,
            arguments=home.manifest.comfy_args,
            variables=home.manifest.env,
            flags=frozenset(check.flags if check else ()),
            cuda=home.manifest.cuda,
            listen=listen,
            # Workflows still read from a folder that is not writable.
            input_folder=input_folder or _writable(inputs) or _filled(inputs),
            output_folder=_writable(home.root / "output") if keeps_outputs else None,
            user_folder=user,
            database=user / "comfyui.db" if user and keeps_outputs else None,
            extra_model_paths=paths,
            read_only=read_only_folders(
                home.python,
                os.environ,
                writable_environment=home.manifest.writable_environment
                or home.manifest.kind == "init",
            ),
            left_out=_left_out(home.manifest),
        )


def _left_out(manifest: Manifest) -> frozenset[str]:
    """The nodes that would end the engine, because this machine lacks what they need."""
    return frozenset(
        name
        for name, node in manifest.not_imported.items()
        if node.ends_engine and manifest.unmet_here(node.needs, os.environ)
    )


def _writable(folder: Path) -> Path | None:
    return folder if can_write(folder) else None


def _filled(folder: Path) -> Path | None:
    return folder if folder.is_dir() and any(folder.iterdir()) else None


def write_model_paths(
    path: Path,
    models_dir: Path | None,
    folders: ModelFolders,
    *,
    links: Path | None = None,
    of_jobs: Path | None = None,
) -> None:
    """Writes an `extra_model_paths.yaml` to `path` that adds `models_dir`, with the core's folders,
    and `of_jobs` after all others.

    If the core was never asked for its folders, the folders in `models_dir` are used. Those of
    `links` take precedence over all others, including the core's own.
    """
    sections = []
    if models_dir is not None:
        sections.append(_section("models", models_dir, folders.folders or _folders_in(models_dir)))
    if links is not None:
        sections.append(_section("links", links, _used(links, folders.folders), is_default=True))
    if of_jobs is not None:
        sections.append(_section("jobs", of_jobs, folders.folders))
    path.write_text("".join(sections), encoding="utf-8")


def _section(
    name: str, base: Path, folders: Mapping[str, Sequence[str]], *, is_default: bool = False
) -> str:
    """Values are text with one directory per line: a YAML list would crash the core."""
    lines = [f"{name}:", f"  base_path: {json.dumps(str(base))}"]
    if is_default:
        lines.append("  is_default: true")
    for folder, directories in sorted(folders.items()):
        inside = [one for one in directories if not Path(one).is_absolute() and ".." not in one]
        if inside:
            # A JSON string is a valid YAML string, whatever characters the name has.
            lines.append(f"  {json.dumps(folder)}: {json.dumps(chr(10).join(inside))}")
    return "\n".join(lines) + "\n"


def _folders_in(models_dir: Path) -> dict[str, list[str]]:
    """Without `custom_nodes`: the core would look for nodes there."""
    return {
        path.name: [path.name]
        for path in sorted(models_dir.iterdir())
        if path.is_dir() and path.name != "custom_nodes"
    }


def _used(links: Path, known: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The folders that have links, by the core's name for them if it has one."""
    used = {
        name: there
        for name, directories in known.items()
        if (there := [one for one in directories if (links / one).is_dir()])
    }
    named = {Path(one).parts[0] for directories in used.values() for one in directories}
    return {**{name: it for name, it in _folders_in(links).items() if name not in named}, **used}
