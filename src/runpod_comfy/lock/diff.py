"""The differences between two locks, or between two specs: part by part, key by key.

They are compared as documents, so that a new key is never missed. The id of a version and the
digest of its spec are names, not content: two versions may have equal content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from runpod_comfy.lock.model import Lock
from runpod_comfy.spec.model import Spec, model_place

Part = Literal["core", "nodes", "python", "models", "environment"]

PARTS: tuple[Part, ...] = ("core", "nodes", "python", "models", "environment")

# Keys that are derived from another key of the same item, and are skipped if that one differs.
_IMPLIED = {
    "commit": ("tree_hash", "submodules"),
    "version": ("files",),
    "sha256": ("size", "hashed_on_download"),
}
PIN_OF = "pin of "
"""Begins the key of a source's pin. Its values only have the parts that differ."""
_NAMES = ("version_id", "spec_digest", "schema_version", "lock_version")
_ORDERS = ("order of custom nodes", "order of models")


@dataclass(frozen=True, kw_only=True)
class LockChange:
    """One difference. `before` is None for what was added, `after` for what was removed.

    `name` is that of a node, a distribution, a model's path or a setting. `key` is the part of it
    that differs, empty if all of it was added or removed. The values are plain JSON; lists of files
    only contain the differing files.
    """

    part: str
    name: str
    key: str = ""
    before: Any = None
    after: Any = None


_Things = dict[tuple[Part, str], dict[str, Any]]


def compare_locks(before: Lock, after: Lock) -> list[LockChange]:
    """Every difference in content, ordered by part and name; empty if there is none."""
    return _compare(_things_of_lock(before), _things_of_lock(after))


def compare_specs(before: Spec, after: Spec) -> list[LockChange]:
    """Every difference in content between two specs, ordered by part and name."""
    return _compare(_things_of_spec(before), _things_of_spec(after))


def _compare(before: _Things, after: _Things) -> list[LockChange]:
    found: list[LockChange] = []
    for part, name in sorted({*before, *after}, key=lambda key: (PARTS.index(key[0]), key[1])):
        old, new = before.get((part, name)), after.get((part, name))
        if old is None or new is None:
            found.append(LockChange(part=part, name=name, before=old, after=new))
        else:
            found += _changed_keys(part, name, old, new)
    # An order that differs because something was added or removed is not a separate change.
    return [
        change
        for change in found
        if change.name not in _ORDERS or sorted(change.before) == sorted(change.after)
    ]


def _changed_keys(
    part: str, name: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[LockChange]:
    # The pins of sources that were added or removed are not separate changes.
    keys = [key for key in {**before, **after} if not key.startswith(PIN_OF)]
    keys += [key for key in before if key.startswith(PIN_OF) and key in after]
    differing = [key for key in keys if before.get(key) != after.get(key)]
    implied = {other for key in differing for other in _IMPLIED.get(key, ())}
    changes = []
    for key in (key for key in differing if key not in implied):
        old, new = before.get(key), after.get(key)
        if key == "files":
            old, new = (
                [file for file in files or [] if file not in (others or [])]
                for files, others in ((old, new), (new, old))
            )
        elif key.startswith(PIN_OF):
            old, new = _only_in(before[key], after[key]), _only_in(after[key], before[key])
        changes.append(LockChange(part=part, name=name, key=key, before=old, after=new))
    return changes


def _only_in(pin: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {part: value for part, value in pin.items() if value != other.get(part)}


def _things_of_lock(lock: Lock) -> _Things:
    document = lock.model_dump(mode="json", exclude_defaults=True)
    document["models"] = _all_models(document)
    python: dict[str, Any] = document.pop("python")
    things = _trees_and_models(document)
    distributions = [item for group in ("torch", "wheels") for item in python.pop(group, [])]
    counts = Counter(item["name"] for item in distributions)
    for item in distributions:
        name = item.pop("name")
        # One name may have a different version on each platform.
        title = name if counts[name] == 1 else f"{name} [{item.get('marker', 'elsewhere')}]"
        things["python", title] = item
    settings = {"python": python.pop("version")} | python
    return things | _settings(settings) | _settings(document)


def _all_models(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The models of a lock's document with those that are not hashed yet, which are removed."""
    models: list[dict[str, Any]] = document.pop("models", [])
    for model in document.pop("unhashed_models", []):
        models.insert(model.pop("index"), model)
    for model in models:
        pins = {f"{PIN_OF}{each['url']}": each.get("pin", {}) for each in model["sources"]}
        model |= {"sources": [each["url"] for each in model["sources"]], **pins}
    return models


def _things_of_spec(spec: Spec) -> _Things:
    document = spec.model_dump(mode="json", exclude_defaults=True)
    options: dict[str, Any] = document.pop("options", {})
    return _trees_and_models(document) | _settings(options) | _settings(document)


def _trees_and_models(document: dict[str, Any]) -> _Things:
    """Removes core, nodes and models from `document` and returns them."""
    things: _Things = {("core", "core"): document.pop("comfy")}
    nodes = {node.pop("name"): node for node in document.pop("custom_nodes", [])}
    models = {_take_place(model): model for model in document.pop("models", [])}
    things |= {("nodes", name): node for name, node in nodes.items()}
    things |= {("models", place): model for place, model in models.items()}
    # The order is content too: it is the order of the layers.
    return things | _settings(dict(zip(_ORDERS, (list(nodes), list(models)), strict=True)))


def _take_place(model: dict[str, Any]) -> str:
    """Where a model of a spec or lock is, below the models folder."""
    target = model.pop("target_path", None) or f"{model.get('target_subdir', '.')}/{model['name']}"
    return model_place(model.pop("target_node", None), target.removeprefix("./"))


def _settings(document: Mapping[str, Any], above: str = "") -> _Things:
    """Every setting as an item of its own, named by its path: `env.HF_HOME`, `torch.version`."""
    things: _Things = {}
    for name, value in document.items():
        if isinstance(value, dict):
            things |= _settings(value, f"{above}{name}.")
        elif above or name not in _NAMES:
            things["environment", f"{above}{name}"] = {"value": value}
    return things
