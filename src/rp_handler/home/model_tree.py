"""Where `ComfyUI/models` of an image leads: to the models folder of this container.

In the image it is a link to a link below /tmp, which can be changed at start, also by any user and
in a read-only container. So a node that opens files below the core's models folder finds them, and
what it downloads there lands in the mounted folder, if that can be written.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from comfy_files.files import can_write


def changeable_link(core_models: Path) -> Path | None:
    """The link that `core_models` leads to, existing or not, if it can be changed; None in a home,
    where it leads to the home's own models.
    """
    if not core_models.is_symlink():
        return None
    link = core_models.readlink()
    return link if link.is_absolute() and can_write(link.parent) else None


@contextlib.contextmanager
def leading_to(link: Path, main: Path, *, links: Path, scratch: Path) -> Iterator[None]:
    """Makes `link` lead to the folder `main` during the block and after it.

    If the folder `links` exists, or `main` cannot be written, it leads to a new folder `scratch`
    meanwhile, which has links to everything in both; `links` takes precedence. So nodes can make
    folders of their own there.
    """
    link.parent.mkdir(parents=True, exist_ok=True)
    # The next run in this container may be another user's.
    with contextlib.suppress(OSError):
        link.parent.chmod(0o777)
    if links.is_dir() or not can_write(main):
        _merge(scratch, [folder for folder in (links, main) if folder.is_dir()])
        _lead(link, scratch)
    else:
        _lead(link, main)
    try:
        yield
    finally:
        if link.readlink() == scratch:
            _lead(link, main)


def _merge(place: Path, folders: Sequence[Path]) -> None:
    """Makes the folder `place` with links to everything in `folders`, the first one first."""
    place.mkdir()
    names = sorted({path.name for folder in folders for path in folder.iterdir()})
    for name in names:
        found = [folder / name for folder in folders if os.path.lexists(folder / name)]
        if len(found) > 1 and all(path.is_dir() for path in found):
            _merge(place / name, found)
        else:
            (place / name).symlink_to(found[0])


def _lead(link: Path, folder: Path) -> None:
    partial = link.with_name(f".{link.name}.{os.getpid()}.partial")
    partial.symlink_to(folder)
    partial.replace(link)
