"""Work as an ordinary user, also where the tests run as root."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_ID = 1000
_NEW_MOUNTS = 0x20000


def can_unshare(*namespaces: str) -> bool:
    """True if this user may have these namespaces, such as `--mount`."""
    try:
        return subprocess.run(["unshare", *namespaces, "true"], check=False).returncode == 0
    except FileNotFoundError:
        return False


def as_ordinary_user(work: Callable[[], None], *places: Path) -> None:
    """Runs `work` in a process of an ordinary user, who owns everything in `places`.

    Raises AssertionError with its traceback if it raises something.
    """
    if os.getuid() == 0:
        if _closed_folders() and not can_unshare("--mount"):
            pytest.fail(f"Only root can reach {sys.base_prefix}: use a Python for all users.")
        for place in places:
            _give(place)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                _open_closed_folders()
                os.setgroups([])
                os.setgid(_ID)
                os.setuid(_ID)
                os.environ["HOME"] = str(places[0])
            work()
            os._exit(0)
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        fault = stream.read().decode()
    _, status = os.waitpid(child, 0)
    assert status == 0, fault


def users_folder() -> Iterator[Path]:
    """A folder that every user can reach: those of pytest are closed to other users."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="user-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _give(place: Path) -> None:
    for path in (place, *place.rglob("*")):
        os.chown(path, _ID, _ID, follow_symlinks=False)


def _closed_folders() -> set[Path]:
    """Folders of root alone, below which this interpreter or its modules lie."""
    needed = [Path(each).resolve() for each in (sys.base_prefix, *sys.path) if each]
    return {
        parent
        for path in needed
        for parent in (path, *path.parents)
        if parent.is_dir() and not parent.stat().st_mode & 1
    }


def _open_closed_folders() -> None:
    """Lets other users reach this interpreter, in a mount namespace of this process."""
    closed = _closed_folders()
    if not closed:
        return
    scratch = Path("/mnt")
    if ctypes.CDLL(None).unshare(_NEW_MOUNTS) != 0:
        raise OSError("no mount namespace")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(scratch)], check=True)
    for number, folder in enumerate(sorted(closed)):
        upper, work = scratch / f"u{number}", scratch / f"w{number}"
        upper.mkdir()
        work.mkdir()
        options = f"lowerdir={folder},upperdir={upper},workdir={work}"
        subprocess.run(
            ["mount", "-t", "overlay", "-o", options, "overlay", str(folder)], check=True
        )
        folder.chmod(0o755)
