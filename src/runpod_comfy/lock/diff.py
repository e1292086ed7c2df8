"""What differs between two locks, or between two specs: part by part, key by key.

Both are compared as documents, so that a new key is never passed over. The id of a version and
the digest of its spec are names, not content: two versions may well hold the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runpod_comfy.lock.model import Lock
from runpod_comfy.spec.model import Spec

Part = Literal["core", "nodes", "python", "models", "environment"]

PARTS: tuple[Part, ...] = ("core", "nodes", "python", "models", "environment")

# What follows from another key of the same thing, once that one differs.
_IMPLIED = {
    "commit": ("tree_hash", "submodules"),
    "version": ("files",),
    "sha256": ("size",),
}
_NAMES = ("version_id", "spec_digest", "schema_version", "lock_version")
_DISTRIBUTIONS = ("torch", "wheels")
_ORDERS = ("order of custom nodes", "order of models")


@dataclass(frozen=True, kw_only=True)
class Change:
    """One difference. `before` is None for what was added, `after` for what was removed.

    `name` is that of a node, a distribution, a model's place or a setting. `key` is what differs
    of it, empty where the whole thing came or went. The values are plain JSON; of lists of files
    only what differs is there.
    """

    part: str
    name: str
    key: str = ""
    before: Any = None
    after: Any = None

    def document(self) -> dict[str, Any]:
        """The change as plain JSON."""
        return {
            "part": self.part,
            "name": self.name,
            "key": self.key,
            "before": self.before,
            "after": self.after,
        }


_Things = dict[tuple[Part, str], dict[str, Any]]


def compare_locks(before: Lock, after: Lock) -> list[Change]:
    """Every difference of content, ordered by part and name; none for the same content."""
    return _compare(_things_of_lock(before), _things_of_lock(after))


def compare_specs(before: Spec, after: Spec) -> list[Change]:
    """The same for two specs."""
    return _compare(_things_of_spec(before), _things_of_spec(after))


def _compare(before: _Things, after: _Things) -> list[Change]:
    found: list[Change] = []
    for part, name in sorted({*before, *after}, key=lambda key: (PARTS.index(key[0]), key[1])):
        old, new = before.get((part, name)), after.get((part, name))
        if old is None or new is None:
            found.append(Change(part=part, name=name, before=old, after=new))
            continue
        found += _changed_keys(part, name, old, new)
    return [change for change in found if not _follows_from_another(change)]


def _follows_from_another(change: Change) -> bool:
    """An order that differs because something came or went."""
    return change.name in _ORDERS and sorted(change.before) != sorted(change.after)


def _changed_keys(
    part: str, name: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[Change]:
    differing = [
        key
        for key in (*before, *(key for key in after if key not in before))
        if before.get(key) != after.get(key)
    ]
    implied = {other for key in differing for other in _IMPLIED.get(key, ())}
    changes = []
    for key in (key for key in differing if key not in implied):
        old, new = before.get(key), after.get(key)
        if key == "files":
            old, new = _only_in(old, new), _only_in(new, old)
        changes.append(Change(part=part, name=name, key=key, before=old, after=new))
    return changes


def _only_in(files: Sequence[Any] | None, others: Sequence[Any] | None) -> list[Any]:
    return [file for file in files or [] if file not in (others or [])]


def _things_of_lock(lock: Lock) -> _Things:
    document = lock.model_dump(mode="json", exclude_defaults=True)
    python: dict[str, Any] = document.pop("python")
    things = _trees_and_models(document)
    distributions = [item for group in _DISTRIBUTIONS for item in python.pop(group, [])]
    counts = Counter(item["name"] for item in distributions)
    for item in distributions:
        name = item["name"]
        # One name may have another version on each platform.
        title = name if counts[name] == 1 else f"{name} [{item.get('marker', 'elsewhere')}]"
        things["python", title] = _without(item, "name")
    settings = {"python": python.pop("version")} | python
    return things | _settings(settings) | _settings(document)


def _things_of_spec(spec: Spec) -> _Things:
    document = spec.model_dump(mode="json", exclude_defaults=True)
    options: dict[str, Any] = document.pop("options", {})
    return _trees_and_models(document) | _settings(options) | _settings(document)


def _trees_and_models(document: dict[str, Any]) -> _Things:
    """Takes core, nodes and models out of `document`."""
    nodes, models = document.pop("custom_nodes", []), document.pop("models", [])
    things: _Things = {("core", "core"): document.pop("comfy")}
    things |= {("nodes", node["name"]): _without(node, "name") for node in nodes}
    things |= {("models", _place(model)): _without(model, "target_path") for model in models}
    # The order is content too: it is that of the layers.
    document[_ORDERS[0]] = [node["name"] for node in nodes]
    document[_ORDERS[1]] = [_place(model) for model in models]
    return things


def _place(model: Mapping[str, Any]) -> str:
    place: str = model.get("target_path") or f"{model['target_subdir']}/{model['name']}"
    return place


def _settings(document: Mapping[str, Any], above: str = "") -> _Things:
    """Every setting as a thing of its own, named by its path: `env.HF_HOME`, `torch.version`."""
    things: _Things = {}
    for name, value in document.items():
        if not above and name in _NAMES:
            continue
        if isinstance(value, dict):
            things |= _settings(value, f"{above}{name}.")
        else:
            things["environment", f"{above}{name}"] = {"value": value}
    return things


def _without(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}
