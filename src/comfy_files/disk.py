"""What a disk refuses, as an error that a person can act on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from comfy_errors import OperationFailedError

ROOM_AND_PERMISSIONS = "Check the room and the permissions there, then run the command again."
PERMISSIONS = "Check the permissions there, then run the command again: it goes on."


@contextlib.contextmanager
def disk_errors(failed: str, *, remedy: str = ROOM_AND_PERMISSIONS) -> Iterator[None]:
    """Raises OperationFailedError in place of OSError: `failed`, then what the disk said."""
    try:
        yield
    except OSError as error:
        raise OperationFailedError(f"{failed}: {error}", remedy=remedy) from error
