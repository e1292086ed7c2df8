"""A folder of model files, a web server that has them, and the models of a spec in a lock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfy_errors import ComfyError
from comfy_models.verify import MEMORY_NAME, HashMemory
from runpod_comfy.lock.models.asked import KnownModel
from runpod_comfy.lock.models.pin import LockedModels, PinnedFile, lock_models, pin_models
from runpod_comfy.sources.model_hosts import model_hosts
from runpod_comfy.spec.model import Spec
from tests.http_server import Answer, Request, serve
from tests.specs import whole_spec

_IN_VAE = {"target_subdir": "vae"}


@dataclass
class Shelf:
    """Files in `folder`, where the spec is too, that `url` serves. `asked` are its requests.

    `answers` are given instead of files, by their path.
    """

    folder: Path
    url: str
    asked: list[Request] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    def put(self, name: str, content: bytes = b"weights") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def spec(self, *models: dict[str, Any]) -> Spec:
        """A spec with these models, named a.safetensors and placed in vae by default."""
        named = [{"name": "a.safetensors", **each} for each in models]
        placed = [each if "target_path" in each else _IN_VAE | each for each in named]
        document = whole_spec() | {"models": placed, "options": self.options}
        return Spec.model_validate(document)

    def pin(
        self, *models: dict[str, Any], known: Sequence[KnownModel] = (), offline: bool = False
    ) -> tuple[list[PinnedFile], list[ComfyError]]:
        """What is found out about models."""
        hosts = model_hosts(self.folder, say=self.said.append)
        say = self.said.append
        return pin_models(self.spec(*models), known, hosts, offline=offline, say=say)

    def faults(self, *models: dict[str, Any], offline: bool = False) -> list[ComfyError]:
        return self.pin(*models, offline=offline)[1]

    def lock(
        self, *models: dict[str, Any], known: Sequence[KnownModel] = (), offline: bool = False
    ) -> LockedModels:
        """The models in a lock, all of which have to be fit for it."""
        pinned, faults = self.pin(*models, known=known, offline=offline)
        assert faults == []
        return lock_models(pinned, HashMemory([self.folder / MEMORY_NAME]), self.said.append)


@contextmanager
def model_shelf(folder: Path) -> Iterator[Shelf]:
    made = Shelf(folder=folder, url="")
    made.folder.mkdir()

    def answer(request: Request) -> Answer | None:
        made.asked.append(request)
        return made.answers.get(request.path)

    with serve(made.folder, answer) as url:
        made.url = url
        yield made
