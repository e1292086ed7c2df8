"""Where a model's bytes come from. Files of this machine; other schemes have their place here."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from comfy_errors import InvalidInputError


def local_path(source: str, base_dir: Path) -> Path | None:
    """The file that a `file:` URL or a path names, None for a source elsewhere.

    A relative path is from `base_dir`. Raises InvalidInputError for a file of another machine.
    """
    if source.startswith("file:"):
        parts = urlsplit(source)
        if parts.netloc not in ("", "localhost"):
            raise InvalidInputError(
                f"{source} names a file of the machine {parts.netloc}",
                remedy="Write three slashes: file:///folder/model.safetensors.",
            )
        return base_dir / unquote(parts.path)
    return None if "://" in source else base_dir / source


def local_source(source: str, base_dir: Path) -> Path:
    """The same, but raises InvalidInputError for a source that is not on this machine."""
    path = local_path(source, base_dir)
    if path is None:
        raise InvalidInputError(
            f"{source}: sources of the kind '{source.split('://')[0]}' are not supported yet; "
            "file:///… and relative paths are",
            remedy="Download the file and name it as 'file:///…' in the spec.",
        )
    return path
