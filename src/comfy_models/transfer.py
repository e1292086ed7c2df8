"""Where a model's bytes come from. Files of this machine; other schemes have their place here."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from comfy_errors import InvalidInputError


def local_source(source: str, base_dir: Path) -> Path:
    """The file that a `file:` URL or a path names; a relative one is from `base_dir`.

    Raises InvalidInputError for a source that is not on this machine.
    """
    if source.startswith("file:"):
        parts = urlsplit(source)
        if parts.netloc not in ("", "localhost"):
            raise InvalidInputError(
                f"{source} names a file of the machine {parts.netloc}",
                remedy="Write three slashes: file:///folder/model.safetensors.",
            )
        return base_dir / unquote(parts.path)
    if "://" in source:
        raise InvalidInputError(
            f"{source}: sources of the kind '{source.split('://')[0]}' are not supported yet; "
            "file:///… and relative paths are",
            remedy="Download the file and name it as 'file:///…' in the spec.",
        )
    return base_dir / source
