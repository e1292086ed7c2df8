"""The lock against the world: what moved since it was made. Looks only, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_files.parallel import in_parallel
from comfy_models.search import local_path
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.lock.drift.distributions import look_at_distributions
from runpod_comfy.lock.drift.finding import Answer, Finding, answer
from runpod_comfy.lock.drift.tree import LockedPlace, look_at_tree
from runpod_comfy.lock.model import Lock, LockedModel
from runpod_comfy.spec.digest import spec_digest
from runpod_comfy.spec.load import LoadedSpec


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What was found. `unanswered` could not be asked; `not_looked_at` says in words what was
    left out; `looked_at` counts the rest."""

    moved: tuple[Finding, ...]
    unanswered: tuple[Finding, ...]
    not_looked_at: tuple[str, ...]
    looked_at: int

    def document(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return {
            "moved": [vars(finding) for finding in self.moved],
            "unanswered": [vars(finding) for finding in self.unanswered],
            "not_looked_at": list(self.not_looked_at),
            "looked_at": self.looked_at,
        }


def look_for_drift(loaded: LoadedSpec, lock: Lock, fetch_context: FetchContext) -> Drift:
    """Everything of `lock` that is gone, was withdrawn or is something else now.

    Offline, only what lies on this machine is looked at.
    """
    places = list(_places(loaded, lock))
    distributions = [*lock.python.torch, *lock.python.wheels]
    models = [
        (model, path)
        for model in lock.models
        if (path := local_path(model.source, loaded.path.parent)) is not None
    ]
    left_out = []
    if len(models) < len(lock.models):
        left_out.append(f"{len(lock.models) - len(models)} models that are no local files")
    if fetch_context.offline:
        left_out += [place.name for place in places if not place.is_local]
        left_out.append(f"{len(distributions)} Python distributions")
        places = [place for place in places if place.is_local]
        distributions = []
    answers = [_look_at_spec(loaded, lock)]
    answers += in_parallel(
        lambda place: look_at_tree(place, lock.version_id, fetch_context), places
    )
    answers += [_look_at_model(model, path, lock.version_id) for model, path in models]
    answers += look_at_distributions(distributions, lock)
    return Drift(
        moved=tuple(finding for each in answers for finding in each.moved),
        unanswered=tuple(finding for each in answers for finding in each.unanswered),
        not_looked_at=tuple(left_out),
        looked_at=len(answers),
    )


def _places(loaded: LoadedSpec, lock: Lock) -> Iterator[LockedPlace]:
    yield LockedPlace(part="core", name="core", tree=lock.comfy, asked=loaded.spec.comfy)
    nodes = {node.name: node for node in loaded.spec.custom_nodes}
    for node in lock.custom_nodes:
        yield LockedPlace(part="nodes", name=node.name, tree=node, asked=nodes.get(node.name))


def _look_at_spec(loaded: LoadedSpec, lock: Lock) -> Answer:
    now = spec_digest(loaded.spec)

    def look() -> list[Finding]:
        if now == lock.spec_digest:
            return []
        return [
            Finding(
                part="spec",
                name=loaded.path.name,
                message=f"{loaded.path} was changed since the lock was made",
                remedy=f"Take the change in with: runpod-comfy resolve {lock.version_id}",
                before=lock.spec_digest,
                after=now,
            )
        ]

    return answer("spec", loaded.path.name, look)


def _look_at_model(model: LockedModel, path: Path, version_id: str) -> Answer:
    """By size alone: hashing takes as long as realizing, which does it."""

    def look() -> list[Finding]:
        try:
            size = path.stat().st_size
        except OSError:
            return [found(f"the model {model.name} is gone from {path}", "Put the file back.")]
        if size == model.size:
            return []
        remedy = f"Put the right file back, or: runpod-comfy resolve {version_id} --upgrade "
        message = f"the model {model.name} has {size} bytes at {path}, the lock says {model.size}"
        return [found(message, remedy + model.name)]

    def found(message: str, remedy: str) -> Finding:
        return Finding(part="models", name=model.name, message=message, remedy=remedy)

    return answer("models", model.name, look)
