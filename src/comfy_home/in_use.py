"""The lock of a home: any number of engines use it, or one command changes it.

The lock ends with the last process that inherited it, however that ends. On a file system that is
read-only or has no locks, nothing is locked and nothing waits.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from comfy_errors import OperationFailedError
from comfy_files.files import lock
from comfy_files.progress import Say
from comfy_home.layout import LOCK_NAME, HomeLayout
from comfy_home.running import Running, holders_of, running_script

_PATIENCE_S = 2.0
_POLL_S = 0.1


@contextlib.contextmanager
def home_in_use(root: Path, say: Say) -> Iterator[None]:
    """Keeps the home at `root` from being changed or removed during the block. Waits for a command
    that is changing it.

    The lock is inheritable: an engine that inherits it holds it until it ends.
    """
    descriptor = None
    # Nothing is created in a folder that holds no version.
    if HomeLayout(root=root).marker.is_file():
        with contextlib.suppress(OSError):
            descriptor = _take(root, say, shared=True)
            os.set_inheritable(descriptor, True)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextlib.contextmanager
def home_alone(root: Path, say: Say) -> Iterator[int]:
    """Creates the folder `root` and keeps engines and other commands out of it during the block.
    Waits for those that use it.

    Yields the lock's descriptor, for scripts to inherit: then nothing starts on a home that is
    still being written, even if this process is killed. Raises OSError.
    """
    root.mkdir(parents=True, exist_ok=True)
    descriptor = _take(root, say, shared=False)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def refuse_home_in_use(root: Path, *, otherwise: str) -> None:
    """Raises OperationFailedError if an engine uses the home at `root`, also one that was started
    by hand. `otherwise` says what was not done: `nothing was removed`.

    A command that is changing the home does not count: it ends by itself. Neither does an engine
    that is just ending.
    """
    patience = time.monotonic() + _PATIENCE_S
    while (users := _users(root)) is not None:
        if time.monotonic() > patience:
            break
        time.sleep(_POLL_S)
    else:
        return
    stop = f": kill {' '.join(str(user.pid) for user in users)}" if users else ""
    raise OperationFailedError(
        f"{root} is in use by {_named(users)}; {otherwise}",
        remedy=f"Stop it first{stop}. Then run the command again.",
    )


def _users(root: Path) -> list[Running] | None:
    """The processes that use the home; empty if it is not known which, None if it is not in use."""
    path = root / LOCK_NAME
    with contextlib.suppress(OSError), path.open("rb") as stream:
        if not _is_free(stream, fcntl.LOCK_EX):
            return holders_of(path) if _is_free(stream, fcntl.LOCK_SH) else None
    return running_script(HomeLayout(root=root).comfyui / "main.py") or None


def _is_free(stream: BinaryIO, kind: int) -> bool:
    try:
        fcntl.flock(stream, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(stream, fcntl.LOCK_UN)
    return True


def _take(root: Path, say: Say, *, shared: bool) -> int:
    """A descriptor that has the lock of `root`."""
    path = root / LOCK_NAME

    def waiting() -> str:
        return f"Waiting for {_named(holders_of(path))}, which uses {root}; Ctrl-C stops waiting"

    while True:
        # A user who may only read the home uses the lock file that is there.
        flags = os.O_RDONLY if shared and path.exists() else os.O_RDWR | os.O_CREAT
        descriptor = os.open(path, flags, 0o666)
        try:
            lock(descriptor, shared=shared, waiting=waiting, say=say)
            if _is_at(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """False if `remove` has deleted the file meanwhile: then it is no one's lock any more."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _named(users: Sequence[Running]) -> str:
    return " and ".join(map(str, users)) or "another process"
