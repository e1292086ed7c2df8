"""What the models on a volume are, remembered on the volume itself.

Reading a file back takes as long as a download, so its sha256 is kept beside what the service
tells about the file. A file that changes gets another tag, and is read again.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comfy_models.volumes.bucket import Bucket, Entry

FOLDER = "models"
_NAME = f"{FOLDER}/.comfy_volume.json"
# To write it for each of thousands of small files would take longer than to read those again.
_SAVED_AFTER_BYTES = 64 << 20
_SAVED_AFTER_S = 5.0


class _Known(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int
    etag: str


class _Record(BaseModel):
    files: dict[str, _Known] = Field(default_factory=dict)


class Record:
    """The sha256 of files, by their keys. For several threads.

    What is lost is read again: what another machine wrote at the same moment, and the last small
    files that this one noted before it died.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._lock = threading.Lock()
        self._files = self._read()
        self._unsaved: dict[str, _Known] = {}
        self._saved_s = time.monotonic()

    def recall(self, key: str, entry: Entry) -> str | None:
        """The sha256 of a file, None if it is not known or the file has changed."""
        known = self._files.get(key)
        if known is None or (known.size, known.etag) != (entry.size, entry.etag):
            return None
        return known.sha256

    def note(self, key: str, entry: Entry, sha256: str) -> None:
        """Remembers a file: a large one at once, small ones together, the last of them by `save`.

        Raises as `Bucket.errors` does.
        """
        with self._lock:
            self._unsaved[key] = _Known(sha256=sha256, **asdict(entry))
            size_bytes = sum(known.size for known in self._unsaved.values())
            waited_s = time.monotonic() - self._saved_s
            if size_bytes >= _SAVED_AFTER_BYTES or waited_s >= _SAVED_AFTER_S:
                self._save()

    def save(self) -> None:
        """Writes what was noted since the last time. Raises as `Bucket.errors` does."""
        with self._lock:
            if self._unsaved:
                self._save()

    def _save(self) -> None:
        self._files = self._read() | self._unsaved
        document = _Record(files=dict(sorted(self._files.items()))).model_dump_json(indent=1)
        self._bucket.put(_NAME, f"{document}\n".encode())
        self._unsaved, self._saved_s = {}, time.monotonic()

    def _read(self) -> dict[str, _Known]:
        if self._bucket.entry(_NAME) is None:
            return {}
        try:
            return _Record.model_validate_json(b"".join(self._bucket.read(_NAME))).files
        except ValidationError:
            # Only time is lost.
            return {}
