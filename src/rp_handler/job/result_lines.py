"""A result document as the lines that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def result_lines(result: Mapping[str, Any]) -> list[str]:
    """A line for each output: path, size, sha256, or a text's first line; or the smoke report."""
    if "counts" in result:
        return _smoke_lines(result)
    lines = [_file_line(image, _pixels(Path(image["path"]))) for image in result["images"]]
    lines += [_file_line(file, f"{file['bytes']} bytes") for file in result["files"]]
    lines += [_text_line(text) for text in result["text"]]
    return lines


def _text_line(text: Mapping[str, Any]) -> str:
    first, *rest = text["text"].splitlines() or [""]
    return f"text of node {text['node']}: {first}{' …' if rest else ''}"


def _file_line(output: Mapping[str, Any], size: str) -> str:
    return f"{output['path']}  {size}  sha256:{output['sha256']}"


def _pixels(path: Path) -> str:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return f"{image.width}x{image.height}"
    except (UnidentifiedImageError, OSError):
        return f"{path.stat().st_size} bytes"


def _smoke_lines(result: Mapping[str, Any]) -> list[str]:
    version, counts = result["version"], result["counts"]
    named = f" ({version['id']})" if version["id"] else ""
    devices = [
        f"device {one['name']}, {(one['memory_bytes'] or 0) / 2**30:.1f} GiB"
        for one in result["devices"]
    ]
    return [
        f"ComfyUI {version['comfyui']}{named}, Python {version['python']}, "
        f"torch {version['torch']}",
        *devices,
        f"{counts['nodes']} node classes, {counts['models']} model files",
        f"started in {result['timings']['start_ms']} ms",
    ]
