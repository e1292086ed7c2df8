"""What a run made: from the engine's history to files on disk, with what is known of each."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from comfy_files.hashing import sha256_of
from comfy_workflows.graph import Graph
from rp_handler.engine.command import EngineFolders
from rp_handler.errors import JobError

# Not the machine's table: the same file has the same type everywhere.
_TYPES = mimetypes.MimeTypes(filenames=())
for _mime, _suffix in (
    ("application/octet-stream", ".latent"),
    ("application/octet-stream", ".safetensors"),
    ("application/x-subrip", ".srt"),
    ("application/yaml", ".yaml"),
    ("audio/flac", ".flac"),
    ("audio/ogg", ".ogg"),
    ("audio/ogg", ".opus"),
    ("audio/mp4", ".m4a"),
    ("image/avif", ".avif"),
    ("image/jxl", ".jxl"),
    ("image/webp", ".webp"),
    ("image/x-exr", ".exr"),
    ("model/gltf+json", ".gltf"),
    ("model/gltf-binary", ".glb"),
    ("model/obj", ".obj"),
    ("model/ply", ".ply"),
    ("model/stl", ".stl"),
    ("text/markdown", ".md"),
    ("video/mp4", ".mp4"),
    ("video/webm", ".webm"),
    ("video/x-matroska", ".mkv"),
):
    _TYPES.add_type(_mime, _suffix)


@dataclass(frozen=True, kw_only=True)
class OutputFile:
    """A file that the node `node` made.

    `path` is where it lies now, below the engine's folder `folder` (output, temp or input), in
    `subfolder`. `sha256` is 64 hex digits.
    """

    node: str
    filename: str
    subfolder: str
    folder: str
    path: Path
    mime: str
    size_bytes: int
    sha256: str

    @property
    def is_image(self) -> bool:
        return self.mime.startswith("image/")


@dataclass(frozen=True, kw_only=True)
class OutputText:
    """A text that the node `node` showed."""

    node: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """All that a run made, in the order of the graph's nodes. `warnings` name what was lost."""

    files: tuple[OutputFile, ...]
    texts: tuple[OutputText, ...]
    warnings: tuple[str, ...]


def collect_outputs(
    history_outputs: Mapping[str, Any], graph: Graph, folders: EngineFolders
) -> Outputs:
    """Every output of a history entry: each entry with a `filename`, under any key, and texts.

    Raises JobError for a file that lies outside the engine's folders: no node may have a file of
    the machine delivered that way.
    """
    order = {node_id: number for number, node_id in enumerate(graph.nodes)}
    files: list[OutputFile] = []
    texts: list[OutputText] = []
    warnings: list[str] = []
    for node_id in sorted(history_outputs, key=lambda one: order.get(one, len(order))):
        for entry in _entries(history_outputs[node_id]):
            if isinstance(entry, str):
                texts.append(OutputText(node=node_id, text=entry))
                continue
            path = _locate(node_id, entry, folders)
            if path is None:
                warnings.append(f"Node {node_id} names a file that is not there: {_name(entry)}.")
            else:
                files.append(_describe(node_id, entry, path))
    return Outputs(files=tuple(files), texts=tuple(texts), warnings=tuple(warnings))


def _entries(node_outputs: Any) -> list[Any]:
    """The file entries (objects) and texts of one node, whatever their keys are."""
    found: list[Any] = []
    if not isinstance(node_outputs, Mapping):
        return found
    for values in node_outputs.values():
        if not isinstance(values, list):
            continue
        if values and all(isinstance(value, str) for value in values):
            found += values
        found += [
            value
            for value in values
            if isinstance(value, Mapping) and isinstance(value.get("filename"), str)
        ]
    return found


def _locate(node_id: str, entry: Mapping[str, Any], folders: EngineFolders) -> Path | None:
    kinds = {"output": folders.output, "temp": folders.temp, "input": folders.input}
    folder = kinds.get(str(entry.get("type") or "output"))
    if folder is None:
        return None
    inner = PurePath(str(entry.get("subfolder") or ""), entry["filename"])
    path = (folder / inner).resolve()
    # A way out and in again is refused too: a sink repeats it below a folder of its own.
    leaves = inner.is_absolute() or ".." in inner.parts
    if leaves or not path.is_relative_to(folder.resolve()):
        raise JobError(
            f"Node {node_id} names an output outside the engine's folders: {_name(entry)}.",
            remedy="Use a file name prefix without '..' and without a leading '/'.",
            details={"node": node_id},
        )
    return path if path.is_file() else None


def _describe(node_id: str, entry: Mapping[str, Any], path: Path) -> OutputFile:
    mime, encoding = _TYPES.guess_type(path.name)
    return OutputFile(
        node=node_id,
        filename=entry["filename"],
        subfolder=str(entry.get("subfolder") or ""),
        folder=str(entry.get("type") or "output"),
        path=path,
        mime=mime if mime and not encoding else "application/octet-stream",
        size_bytes=path.stat().st_size,
        sha256=sha256_of(path),
    )


def _name(entry: Mapping[str, Any]) -> str:
    return "/".join(filter(None, [str(entry.get("subfolder") or ""), entry["filename"]]))
