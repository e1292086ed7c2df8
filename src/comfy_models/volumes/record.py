"""What the models on a volume are, remembered on the volume itself.

Reading a file back takes as long as a download, so its sha256 is kept beside what the service
tells about the file. A file that changes gets another tag, and is read again.
"""

from __future__ import annotations

import threading
from dataclasses import asdict

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comfy_models.volumes.bucket import Bucket, Entry

FOLDER = "models"
_NAME = f"{FOLDER}/.comfy_volume.json"


class _Known(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int
    etag: str


class _Record(BaseModel):
    files: dict[str, _Known] = Field(default_factory=dict)


class Record:
    """The sha256 of files, by their keys. For several threads.

    When two machines write it at once, one may lose what the other noted: that is read again.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._lock = threading.Lock()
        self._files = self._read()

    def recall(self, key: str, entry: Entry) -> str | None:
        """The sha256 of a file, None if it is not known or the file has changed."""
        known = self._files.get(key)
        if known is None or (known.size, known.etag) != (entry.size, entry.etag):
            return None
        return known.sha256

    def note(self, key: str, entry: Entry, sha256: str) -> None:
        """Remembers it at once: what comes later may be interrupted."""
        with self._lock:
            self._files = self._read() | {key: _Known(sha256=sha256, **asdict(entry))}
            files = dict(sorted(self._files.items()))
            document = _Record(files=files).model_dump_json(indent=1)
            self._bucket.put(_NAME, f"{document}\n".encode())

    def _read(self) -> dict[str, _Known]:
        if self._bucket.entry(_NAME) is None:
            return {}
        try:
            return _Record.model_validate_json(b"".join(self._bucket.read(_NAME))).files
        except ValidationError:
            # Only time is lost.
            return {}
