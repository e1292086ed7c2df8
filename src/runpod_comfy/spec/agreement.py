"""What no single value of a spec can tell: names given twice, places in each other's way."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from runpod_comfy.spec.complaints import nearest
from runpod_comfy.spec.model import Spec


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """One sentence, and what to do about it."""

    sentence: str
    remedy: str


def disagreements(spec: Spec) -> Iterator[Disagreement]:
    """Everything in the spec that contradicts something else in it."""
    yield from _versions(spec)
    yield from _node_names(spec)
    yield from _model_places(spec)
    yield from _named_in_options(spec)
    yield from _overrides(spec)


def _fold(text: str) -> str:
    """Names that a file system of macOS takes for the same are the same here."""
    return unicodedata.normalize("NFC", text).casefold()


def _versions(spec: Spec) -> Iterator[Disagreement]:
    trees = [("comfy", spec.comfy)]
    trees += [(f"custom_nodes[{index}]", node) for index, node in enumerate(spec.custom_nodes)]
    for place, tree in trees:
        if tree.kind in ("pypi", "registry") and tree.ref is None:
            yield Disagreement(
                sentence=f"'{place}.ref' is missing: {tree.repo} needs a version",
                remedy="Add 'ref' with the version to use.",
            )


def _node_names(spec: Spec) -> Iterator[Disagreement]:
    seen: dict[str, int] = {}
    for index, node in enumerate(spec.custom_nodes):
        first = seen.setdefault(_fold(node.name), index)
        if first != index:
            yield Disagreement(
                sentence=f"'custom_nodes[{index}].name' is '{node.name}', which "
                f"custom_nodes[{first}] already has ('{spec.custom_nodes[first].name}')",
                remedy="Give each node a name of its own; upper and lower case count as the same.",
            )


def _model_places(spec: Spec) -> Iterator[Disagreement]:
    seen: dict[str, int] = {}
    for index, model in enumerate(spec.models):
        first = seen.setdefault(_fold(model.place), index)
        if first != index:
            yield Disagreement(
                sentence=f"models[{first}] and models[{index}] both go to '{model.place}'",
                remedy="Give each model a 'target_path' of its own.",
            )
    for index, model in enumerate(spec.models):
        for folder in PurePosixPath(_fold(model.place)).parents:
            if (other := seen.get(str(folder))) is not None:
                yield Disagreement(
                    sentence=f"models[{index}] goes to '{model.place}', below "
                    f"models[{other}], which is a file at '{spec.models[other].place}'",
                    remedy="Give one of the two another 'target_path'.",
                )


def _named_in_options(spec: Spec) -> Iterator[Disagreement]:
    nodes = [node.name for node in spec.custom_nodes]
    models = [model.name for model in spec.models]
    asked = [
        ("run_install_scripts", spec.options.run_install_scripts, "custom node", nodes),
        ("allow_pickle", spec.options.allow_pickle, "model", models),
    ]
    for key, names, what, known in asked:
        for index, name in enumerate(names):
            if name not in known:
                meant = nearest(name, known)
                yield Disagreement(
                    sentence=f"'options.{key}[{index}]' names '{name}', "
                    f"but the spec has no {what} of that name",
                    remedy=f"Did you mean '{meant}'?" if meant else f"Name a {what} of the spec.",
                )


def _overrides(spec: Spec) -> Iterator[Disagreement]:
    """Two overrides of one distribution can only stand side by side under markers."""
    if not spec.options.overrides:
        return
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    seen: dict[str, tuple[int, bool]] = {}
    for index, text in enumerate(spec.options.overrides):
        parsed = Requirement(text)
        here = (index, parsed.marker is not None)
        first, has_marker = seen.setdefault(canonicalize_name(parsed.name), here)
        if first != index and not (has_marker and here[1]):
            yield Disagreement(
                sentence=f"'options.overrides[{index}]' is about '{parsed.name}', which "
                f"options.overrides[{first}] already settles",
                remedy="Keep one of the two, or give both a marker.",
            )
