"""The shared caches: their paths and their locks. Everything under a final name in them is whole
and immutable.

Any number of commands may fill a cache, or one may clear it. If several commands need the same
entry, one makes it while the others wait and then use it. A command that finds everything in a home
takes no lock. Without locks nothing breaks: an entry may be made more than once, and the first one
wins.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import OperationFailedError
from comfy_files.files import Below, disk_errors, lock
from comfy_files.progress import Say, say_nothing
from comfy_files.read_only import remove_tree
from comfy_files.user_paths import expanded

MORE_ROOM = "Free some space, or set COMFY_CACHE_ROOT to another folder."
"""The next step where the disk of the cache has no room."""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """The folders below `$COMFY_CACHE_ROOT` (default `~/.cache/runpod-comfy`)."""

    root: Path
    models_root: Path | None = None

    git = Below("git")
    trees = Below("trees")
    archives = Below("archives/sha256")
    named_archives = Below("archives/named")
    uv = Below("uv")
    resolved = Below("resolved")
    # The images that were pushed from here, by repository and tag.
    pushed = Below("pushed")
    # `versions/` and `lockfiles/` of bundles that were loaded here, usable without a checkout.
    loaded = Below("loaded")
    checks = Below("checks")
    environments = Below("environments")
    compiled = Below("compiled")
    # Installers for images of another platform than this machine's, and what the package indexes
    # offer for images, in `offered-*.json`.
    tools = Below("tools")
    # The whole output of steps of images that failed, by version and step.
    logs = Below("logs")
    roots = Below("roots")
    # Which models requests of `verify-models` were about.
    asked = Below("asked")
    tmp = Below("tmp")

    @classmethod
    def from_environment(cls) -> Cache:
        """The configured cache. Raises UnavailableError if the default has no home folder."""
        root = os.environ.get("COMFY_CACHE_ROOT")
        models = os.environ.get("COMFY_CACHE_MODELS")
        return cls(
            root=expanded(root or "~/.cache/runpod-comfy").absolute(),
            models_root=expanded(models).absolute() if models else None,
        )

    @property
    def models(self) -> Path:
        return self.models_root or self.root / "models"

    def loaded_spec(self, version_id: str) -> Path:
        """The spec of a version that came in a bundle."""
        return self.loaded / "versions" / f"{version_id}.json"

    def writing(self) -> contextlib.AbstractContextManager[None]:
        """Turns an OSError of the block into an OperationFailedError."""
        return disk_errors(
            f"the cache {self.root} could not be written",
            remedy="Free some space and check its permissions, or set COMFY_CACHE_ROOT to a "
            "folder that you can write to.",
        )

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A new folder below `tmp`, where an entry is made before it is renamed into its place.

        Raises as `writing` does.
        """
        with self.writing():
            self.tmp.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self.tmp, prefix=f"{name}-"))
            try:
                yield folder
            finally:
                remove_tree(folder, ignore_errors=True)

    @property
    def in_use(self) -> Path:
        """The file whose lock the commands that use the cache share."""
        return self.root / ".in-use"

    def using(self, say: Say = say_nothing) -> contextlib.AbstractContextManager[int | None]:
        """Keeps `gc` out during the block; other commands may use the cache at the same time.

        Yields a file descriptor to be inherited by programs that write there and may outlive this
        process. Yields None, without protection, if the cache is read-only: no `gc` on this machine
        can work there.
        """
        waiting = f"Waiting for gc, which is clearing the cache {self.root}"
        return _locked(self.in_use, waiting, say, shared=True)

    def key_lock(
        self, key: str, *, what: str = "", say: Say = say_nothing
    ) -> contextlib.AbstractContextManager[int | None]:
        """Holds the lock of `key`. Waits while another command has it, and reports that, naming
        `what`.

        The lock ends with the process that holds it, however that ends.
        """
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        waiting = f"Waiting for another command that is making {what}" if what else ""
        return _locked(self.tmp / f"{name}.lock", waiting, say)

    @contextlib.contextmanager
    def alone(self, say: Say = say_nothing) -> Iterator[None]:
        """Waits until no command uses the cache, and keeps all others out during the block.

        Raises OperationFailedError if that is not possible.
        """
        remedy = (
            "Run it on a machine that can write to the cache, or set COMFY_CACHE_ROOT to another "
            "one."
        )
        with disk_errors(f"the cache {self.root} cannot be written", remedy=remedy):
            self.in_use.open("ab").close()
        waiting = f"Waiting for the commands that use the cache {self.root}"
        with _locked(self.in_use, waiting, say) as descriptor:
            if descriptor is None:
                raise OperationFailedError(
                    f"the file system of {self.root} has no locks, so commands that use the cache "
                    "cannot be detected",
                    remedy=remedy,
                )
            yield


@contextlib.contextmanager
def _locked(place: Path, waiting: str, say: Say, *, shared: bool = False) -> Iterator[int | None]:
    """The descriptor of a locked file; None if it cannot be written or locked."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        # Anything that cannot be written is reported when it is needed.
        yield None
        return
    try:
        held = lock(descriptor, shared=shared, waiting=waiting, say=say)
        yield descriptor if held else None
    finally:
        os.close(descriptor)
