"""Downloads a model over HTTP and verifies it while it streams. A file with its final name is
whole.
"""

from __future__ import annotations

import contextlib
import glob
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from comfy_errors import MismatchError, OperationFailedError, UnavailableError
from comfy_files.progress import Say, say_nothing
from comfy_http.redaction import without_secrets
from comfy_http.settings import NetworkSettings
from comfy_models.model_file import ModelFile
from comfy_models.store import place_verified

# A partial file that has not changed for this long belongs to a killed process.
_LEFT_S = 3600.0


def download(model: ModelFile, place: Path, *, say: Say = say_nothing) -> None:
    """Downloads `model` to `place` from its source, or from the first mirror that has it.

    Raises OperationFailedError with the reason for each URL; `place` does not exist then.
    """
    faults = []
    for address in (source.url for source in model.sources):
        try:
            _fetch(address, model, place, say)
            return
        except (UnavailableError, MismatchError) as error:
            faults.append(error.message)
    raise OperationFailedError("; ".join(faults) or "its source is unknown")


def _fetch(address: str, model: ModelFile, place: Path, say: Say) -> None:
    # Imported late: models that are present need no network.
    from comfy_http.client import HttpClient

    shown = without_secrets(address)
    scheme = urlsplit(address).scheme
    if scheme not in ("http", "https"):
        kind = f"{scheme}://" if scheme else "a file on another machine"
        raise UnavailableError(f"{shown} cannot be downloaded at start: it is {kind}")
    client = HttpClient(settings=NetworkSettings(), remedy="")
    with client.download(address, size_bytes=model.size, say=say) as chunks, _partial(place) as it:
        place_verified(chunks, it, place, where=shown, expected_sha256=model.sha256)


@contextlib.contextmanager
def _partial(place: Path) -> Iterator[BinaryIO]:
    """A new file beside `place`, removed at the end if it was not renamed.

    Its name is random, because machines that share a volume may not see each other's locks; each
    writes its own file.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    for left in place.parent.glob(f".{glob.escape(place.name)}.*.partial"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _LEFT_S:
                left.unlink()
    path = place.with_name(f".{place.name}.{uuid.uuid4().hex}.partial")
    try:
        with path.open("wb") as stream:
            yield stream
    finally:
        path.unlink(missing_ok=True)
