"""Proves models: each one is whole, in the store or in the models folder, and linked where it is
looked for. What is missing or wrong is fetched and linked.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_errors import ComfyError, Faults, OperationFailedError
from comfy_files.files import PERMISSIONS, disk_errors, os_reason, os_remedy
from comfy_files.parallel import HASHING_THREADS, in_parallel
from comfy_files.progress import UNSEEN, Progress
from comfy_models.links import InTheWayError, ModelFolders, missing_links
from comfy_models.proof import Proof, ProvenModel, State
from comfy_models.store import ModelStore
from comfy_models.verify import HashMemory, fault_of

if TYPE_CHECKING:
    from comfy_models.model_file import ModelFile

Fetch = Callable[[Sequence["ModelFile"]], object]
"""Brings models into the store. Raises one ComfyError for all that it could not bring."""


def prove(
    models: Sequence[ModelFile],
    folders: ModelFolders,
    memory: HashMemory,
    *,
    fetch: Fetch | None = None,
    overwrite: bool = False,
    rehash: bool = False,
    progress: Progress = UNSEEN,
) -> Proof:
    """Makes the models complete as far as possible, and says what is true of each.

    Each has a target path of its own. Files are hashed unless `memory` knows them and `rehash` is
    false. Without `fetch` nothing is fetched or removed, but links are made. Another file at the
    path of a model is left alone unless `overwrite` is true, and then replaced once the model is in
    the store.
    """
    proving = _Proving(folders, memory, overwrite=overwrite, rehash=rehash, progress=progress)
    unsettled = proving.unsettled(models)
    proving.read(unsettled)
    proving.find_obstacles(unsettled)
    if fetch is not None:
        proving.bring(unsettled, fetch)
    proving.link(unsettled)
    memory.save()
    states = tuple(proving.state_of(model) for model in models)
    return Proof(models=states, error=proving.faults.error)


def is_settled(model: ModelFile, folders: ModelFolders, memory: HashMemory) -> bool:
    """True if the model is linked everywhere and has not changed since it was last hashed. Opens
    no file.
    """
    try:
        # Not `Path.stat`: there may be thousands of models.
        status = os.stat(folders.shared / model.target_path)  # noqa: PTH116
        is_right = status.st_size == model.size and memory.recall_status(status) == model.sha256
        if not is_right or folders.home is None:
            return is_right
        return os.path.samestat(status, os.stat(folders.home / model.target_path))  # noqa: PTH116
    except (OSError, ValueError):
        return False


def is_lacking(model: ModelFile, folders: ModelFolders, memory: HashMemory) -> bool:
    """True if the model has to be fetched: it is wrong in the store, or neither there nor in the
    shared folder, where a person may have put it.
    """
    stored = folders.store.path_of(model.sha256)
    if folders.store.holds(model.sha256) and fault_of(stored, model, memory) is None:
        return False
    place = folders.shared / model.target_path
    return os.path.lexists(stored) or fault_of(place, model, memory) is not None


def bring(models: Sequence[ModelFile], store: ModelStore, memory: HashMemory, fetch: Fetch) -> None:
    """Fetches models that are lacking, in place of wrong ones in the store.

    Raises what `fetch` raises, and OperationFailedError if the store cannot be written.
    """
    for model in models:
        stored = store.path_of(model.sha256)
        if os.path.lexists(stored) and fault_of(stored, model, memory) is not None:
            with disk_errors(f"{stored} is wrong and could not be removed", remedy=PERMISSIONS):
                stored.unlink(missing_ok=True)
    if models:
        fetch(models)


class _Proving:
    """What is known so far, by the target paths of the models: which have something in their way
    or cannot be linked, and why, which were asked for, fetched and linked now, and which files
    (device, inode) were read now. `faults` say what could not be fetched, and why the first one
    could not be linked.
    """

    def __init__(
        self,
        folders: ModelFolders,
        memory: HashMemory,
        *,
        overwrite: bool,
        rehash: bool,
        progress: Progress,
    ) -> None:
        self._folders, self._memory, self._progress = folders, memory, progress
        self._overwrite, self._rehash = overwrite, rehash
        self._doubtful = folders.store.doubtful()
        self._obstacles: dict[str, str] = {}
        self._unlinked: dict[str, str] = {}
        self.faults = Faults()
        self._asked: set[str] = set()
        self._fetched: set[str] = set()
        self._linked: set[str] = set()
        self._read: set[tuple[int, int]] = set()

    def unsettled(self, models: Sequence[ModelFile]) -> list[ModelFile]:
        """The models of which something has to be read or done."""
        return [
            model
            for model in models
            if self._rehash
            or model.sha256 in self._doubtful
            or not is_settled(model, self._folders, self._memory)
        ]

    def read(self, models: Sequence[ModelFile]) -> None:
        """Hashes every file of the models whose hash is not known, once for all its names."""
        unread: dict[tuple[int, int], tuple[Path, ModelFile]] = {}
        for model in models:
            for path in (self._stored(model), self._place(model)):
                status = _status(path)
                if status is None or status.st_size != model.size:
                    continue
                inode = (status.st_dev, status.st_ino)
                is_known = self._memory.recall_status(status) is not None
                is_known = is_known and model.sha256 not in self._doubtful
                if inode not in self._read and (self._rehash or not is_known):
                    unread[inode] = (path, model)
        # The largest first, so that no core is alone with one of them in the end.
        files = sorted(unread.values(), key=lambda item: -item[1].size)
        size_bytes = sum(model.size for _, model in files)
        self._progress.expect("hashed", count=len(files), size_bytes=size_bytes)
        in_parallel(self._hash, files, threads=HASHING_THREADS)
        self._read.update(unread)
        for model in models:
            if model.sha256 in self._doubtful and not self._fault_of(self._stored(model), model):
                with contextlib.suppress(OSError):
                    self._folders.store.mark_of(model.sha256).unlink(missing_ok=True)

    def _hash(self, item: tuple[Path, ModelFile]) -> None:
        path, model = item
        title = model.target_path
        try:
            with self._progress.file("hashed", title, size_bytes=model.size) as count:
                self._memory.hash_of(path, counted=count)
        except OSError:
            # Reported as the fault of this file.
            return
        # An interruption does not cost what was hashed before.
        self._memory.save()
        self._progress.arrived("hashed", count=1)

    def find_obstacles(self, models: Sequence[ModelFile]) -> None:
        """Finds the models that cannot be linked, before anything is fetched for them."""
        for model in models:
            try:
                missing_links(model, self._folders, self._memory, overwrite=self._overwrite)
            except (ComfyError, OSError) as error:
                self._note(model, error)

    def bring(self, models: Sequence[ModelFile], fetch: Fetch) -> None:
        """Fetches what is missing, and what is wrong in the store."""
        lacking = [
            model
            for model in models
            if self._is_linkable(model) and is_lacking(model, self._folders, self._memory)
        ]
        self._asked = {model.target_path for model in lacking}
        self.faults.catch(bring, lacking, self._folders.store, self._memory, fetch)
        self.read(lacking)
        for model in lacking:
            if self._fault_of(self._stored(model), model) is None:
                self._fetched.add(model.target_path)

    def link(self, models: Sequence[ModelFile]) -> None:
        """Makes the missing links to whole models."""
        for model in models:
            is_stored = self._fault_of(self._stored(model), model) is None
            is_there = is_stored or self._fault_of(self._place(model), model) is None
            if not is_there or not self._is_linkable(model):
                continue
            try:
                links = missing_links(model, self._folders, self._memory, overwrite=self._overwrite)
                for link in links:
                    link.make()
                    self._keep_in_mind(link.root / model.target_path, model)
                    self._linked.add(model.target_path)
            except (ComfyError, OSError) as error:
                self._note(model, error)

    def _note(self, model: ModelFile, error: ComfyError | OSError) -> None:
        """Notes why `model` cannot be linked."""
        if isinstance(error, OSError):
            reason = f"it could not be linked: {os_reason(error)}"
            if not self._unlinked:
                remedy = os_remedy(error, otherwise=PERMISSIONS)
                message = f"model {model.target_path}: {reason}"
                self.faults.add(OperationFailedError(message, remedy=remedy))
            self._unlinked[model.target_path] = reason
        elif isinstance(error, InTheWayError):
            self._obstacles[model.target_path] = f"{error.message}; {error.step}"
        else:
            self._obstacles[model.target_path] = error.message

    def _is_linkable(self, model: ModelFile) -> bool:
        path = model.target_path
        return path not in self._obstacles and path not in self._unlinked

    def _keep_in_mind(self, place: Path, model: ModelFile) -> None:
        """A hard link changes the times of the file that it leads to."""
        stored = self._stored(model)
        if not place.is_symlink() and stored.exists() and place.samefile(stored):
            self._memory.remember(place, model.sha256)

    def state_of(self, model: ModelFile) -> ProvenModel:
        place, stored = self._place(model), self._stored(model)
        obstacle = self._obstacles.get(model.target_path)
        unlinked = self._unlinked.get(model.target_path)
        if unlinked is not None and obstacle is None:
            return ProvenModel(model=model, path=place, state="missing", reason=unlinked)
        if obstacle is None and is_settled(model, self._folders, self._memory):
            status = place.stat()
            is_read = (status.st_dev, status.st_ino) in self._read
            state: State = "verified" if is_read else "present"
            if model.target_path in self._fetched:
                state = "downloaded"
            linked = model.target_path in self._linked
            return ProvenModel(model=model, path=place, state=state, linked=linked)
        if obstacle is None and os.path.lexists(stored):
            obstacle = f"{stored} {self._fault_of(stored, model)}"
        if obstacle is not None:
            return ProvenModel(model=model, path=place, state="wrong", reason=obstacle)
        reason = "it is neither in the store nor in the models folder"
        if model.target_path in self._asked:
            reason = "it could not be fetched"
        return ProvenModel(model=model, path=place, state="missing", reason=reason)

    def _fault_of(self, path: Path, model: ModelFile) -> str | None:
        return fault_of(path, model, self._memory)

    def _stored(self, model: ModelFile) -> Path:
        return self._folders.store.path_of(model.sha256)

    def _place(self, model: ModelFile) -> Path:
        return self._folders.shared / model.target_path


def _status(path: Path) -> os.stat_result | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None
