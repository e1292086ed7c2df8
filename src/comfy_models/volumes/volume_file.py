"""A model's file on a volume: what is there, and what has to be."""

from __future__ import annotations

import hashlib
from typing import Literal

from comfy_errors import ComfyError, MismatchError, OperationFailedError
from comfy_files.files import os_reason
from comfy_files.parallel import end_if_interrupted
from comfy_files.progress import Progress
from comfy_models.model_file import ModelFile
from comfy_models.store import ModelStore
from comfy_models.volumes.bucket import Bucket, Entry
from comfy_models.volumes.record import FOLDER, Record
from comfy_models.volumes.upload import Upload

VolumeState = Literal["present", "verified", "uploaded", "wrong", "missing"]


class VolumeFile:
    """Where a model lies on a volume, and what is known of the file there. It `is_unread` if only
    its bytes can tell its `state`; `error` is why the model does not hold there.

    A `present` file has not changed since its sha256 was computed, a `verified` one was read back
    and hashed now, an `uploaded` one was sent now. `wrong` and `missing` ones have a `reason`.
    """

    def __init__(self, bucket: Bucket, record: Record, model: ModelFile) -> None:
        self.bucket, self.record, self.model = bucket, record, model
        self.volume = bucket.volume
        self.key = f"{FOLDER}/{model.target_path}"
        self.state: VolumeState = "missing"
        self.is_unread = False
        self.reason = ""
        self.error: ComfyError | None = None
        self._entry: Entry | None = None

    def look(self) -> None:
        """Learns the state, unless only the bytes can tell it."""
        self._entry = self.bucket.entry(self.key)
        if self._entry is None:
            self.reason = "does not exist"
        elif self._entry.size != self.model.size:
            self._is_wrong(f"has {self._entry.size} bytes, not {self.model.size}")
        elif (sha256 := self.record.recall(self.key, self._entry)) is not None:
            self._judge(sha256, "present")
        else:
            self.is_unread = True

    def read_back(self, progress: Progress) -> None:
        """Hashes the file on the volume, and remembers the result there."""
        assert self._entry is not None
        digest = hashlib.sha256()
        title, size_bytes = self.model.target_path, self.model.size
        with progress.file("hashed", title, size_bytes=size_bytes) as count:
            for chunk in self.bucket.read(self.key):
                end_if_interrupted()
                digest.update(chunk)
                count(len(chunk))
        progress.arrived("hashed", count=1)
        self.record.note(self.key, self._entry, digest.hexdigest())
        self._judge(digest.hexdigest(), "verified")

    def upload(self, store: ModelStore, progress: Progress) -> None:
        """Sends the model, which is in the store. Keeps the error if that fails."""
        path, title = store.path_of(self.model.sha256), f"{self.model.target_path} → {self.volume}"
        try:
            with progress.file("uploaded", title, size_bytes=self.model.size) as count:
                upload = Upload(bucket=self.bucket, key=self.key, path=path, count=count)
                entry = upload.run()
            self.record.note(self.key, entry, self.model.sha256)
            self.state, self.reason, self.error = "uploaded", "", None
            progress.arrived("uploaded", count=1)
        except ComfyError as error:
            self.error = error
        except OSError as error:
            self.error = OperationFailedError(
                f"{path} could not be sent to volume {self.volume}: {os_reason(error)}",
                remedy="Run the command again.",
            )

    def _judge(self, sha256: str, state: VolumeState) -> None:
        if sha256 == self.model.sha256:
            self.state = state
        else:
            self._is_wrong(f"has sha256 {sha256}, not {self.model.sha256}")

    def _is_wrong(self, reason: str) -> None:
        self.state, self.reason = "wrong", reason
        self.error = MismatchError(
            f"{self.key} on volume {self.volume} {reason}; it was left alone",
            remedy="Use --overwrite to replace it.",
        )
