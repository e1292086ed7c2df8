"""A version spec from its file: found by id, read and checked."""

from __future__ import annotations

import json
import shlex
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from comfy_errors import InvalidInputError, UnavailableError
from comfy_errors.names import listed, nearest
from comfy_files.files import digest_of
from runpod_comfy.spec.document import Fault, faults_in, parse_json, read_json, validated
from runpod_comfy.spec.model import SCHEMA_VERSION, Spec
from runpod_comfy.spec.values import VersionId


@dataclass(frozen=True, kw_only=True)
class LoadedSpec:
    """A spec and its file; relative paths are based on the file's folder."""

    spec: Spec
    path: Path


def check_version_id(version_id: str) -> str:
    """Returns the id. Raises InvalidInputError if it is not a valid id."""
    try:
        return TypeAdapter(VersionId).validate_python(version_id)
    except ValidationError as error:
        reason = error.errors()[0]["ctx"]["error"]
        raise InvalidInputError(
            f"the version id {version_id!r} {reason}", remedy="Choose an id such as 'demo-2'."
        ) from error


def find_spec(version_id: str, project_root: Path) -> Path:
    """The path of a version's spec, existing or not: `versions/<id>.json`.

    Raises InvalidInputError for an invalid id.
    """
    return project_root / "versions" / f"{check_version_id(version_id)}.json"


def load_spec(path: Path) -> LoadedSpec:
    """Reads and checks a spec.

    Raises UnavailableError, naming the nearest version that exists, if the file is not there,
    InvalidInputError, naming file and key, for everything that is wrong in it.
    """
    path = path.absolute()
    if not path.exists():
        raise _no_spec(path)
    spec = _validate(read_json(path, what="spec"), where=str(path))
    if path.parent.name == "versions" and path.stem != spec.version_id:
        raise InvalidInputError(
            f"{path}: 'version_id' is '{spec.version_id}', but the file is named '{path.name}'",
            remedy=f"Rename the file to '{spec.version_id}.json', or correct 'version_id'.",
        )
    return LoadedSpec(spec=spec, path=path)


def parse_spec(text: str, *, where: str) -> Spec:
    """The spec in `text`, checked as `load_spec` does. `where` names its place in messages."""
    return _validate(parse_json(text, where=where), where=where)


def _validate(document: Any, *, where: str) -> Spec:
    if not isinstance(document, dict):
        raise InvalidInputError(
            f"{where} is not a version spec: it must be a JSON object in braces",
            remedy="Write one with: runpod-comfy create ID --repo URL@REF",
        )
    found = document.get("schema_version")
    if found is None and "lock_version" in document:
        raise InvalidInputError(
            f"{where} is a lock, not a spec",
            remedy="Name its spec. Commands that install or run a version take a lock with --lock.",
        )
    if found is None:
        raise InvalidInputError(
            f"{where}: 'schema_version' is missing",
            remedy=f'Add "schema_version": {SCHEMA_VERSION}, the one that this program reads.',
        )
    if found != SCHEMA_VERSION or type(found) is not int:
        age = "is no longer used" if found in (1, "1") else "is not known"
        raise InvalidInputError(
            f"{where}: 'schema_version' is {found!r}, which {age}; "
            f"this program reads schema version {SCHEMA_VERSION}",
            remedy="Write the spec again with: runpod-comfy create <id> --repo URL@REF",
        )
    spec = validated(Spec, document, where=where)
    checks = (_versions, _node_names, _model_places, _named_elsewhere, _overrides)
    if faults := [fault for check in checks for fault in check(spec)]:
        raise faults_in(where, faults)
    return spec


def _no_spec(path: Path) -> UnavailableError:
    if path.parent.name == "versions":
        known = sorted(item.stem for item in path.parent.glob("*.json"))
        hint = "There are no specs in that folder yet."
        if not path.parent.is_dir():
            hint = f"There is no folder {path.parent}."
        elif meant := nearest(path.stem, known):
            hint = f"Did you mean '{meant}'?"
        elif known:
            hint = f"There are: {listed(known)}."
        hint += " Name another project folder with --project DIR, or write"
        create = f"runpod-comfy create {path.stem} --repo URL@REF"
    else:
        # The JSON files of any other folder may be anything, so none of them is named.
        hint = "Check the path, or write"
        create = f"runpod-comfy create ID --repo URL@REF --output {shlex.quote(str(path))}"
    return UnavailableError(
        f"there is no version spec at {path}", remedy=f"{hint} the spec with: {create}"
    )


def fold(text: str) -> str:
    """Folds names that a macOS file system treats as equal."""
    return unicodedata.normalize("NFC", text).casefold()


def _versions(spec: Spec) -> Iterator[Fault]:
    trees = [("comfy", spec.comfy)]
    trees += [(f"custom_nodes[{index}]", node) for index, node in enumerate(spec.custom_nodes)]
    for place, tree in trees:
        if tree.kind in ("pypi", "registry") and tree.ref is None:
            yield (
                f"'{place}.ref' is missing: {tree.repo} needs a version",
                "Add 'ref' with the version to use.",
            )


def _node_names(spec: Spec) -> Iterator[Fault]:
    for first, index in _repeated(node.name for node in spec.custom_nodes):
        yield (
            f"'custom_nodes[{index}].name' is '{spec.custom_nodes[index].name}', which "
            f"custom_nodes[{first}] already has ('{spec.custom_nodes[first].name}')",
            "Give each node its own name; upper and lower case are not distinguished.",
        )


def _repeated(names: Iterable[str]) -> Iterator[tuple[int, int]]:
    """The index of a name's first occurrence, and of a later one."""
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        first = seen.setdefault(fold(name), index)
        if first != index:
            yield first, index


def _model_places(spec: Spec) -> Iterator[Fault]:
    for first, index in _repeated(model.place for model in spec.models):
        yield (
            f"models[{first}] and models[{index}] both go to '{spec.models[index].place}'",
            "Give each model a 'target_path' of its own.",
        )
    # Others may lie below a folder, where it has no file of that name: `resolve` knows.
    files = [(index, model) for index, model in enumerate(spec.models) if not model.is_folder]
    seen = {fold(model.place): index for index, model in files}
    for index, model in enumerate(spec.models):
        for folder in PurePosixPath(fold(model.place)).parents:
            if (other := seen.get(str(folder))) is not None:
                yield (
                    f"models[{index}] goes to '{model.place}', below "
                    f"models[{other}], which is a file at '{spec.models[other].place}'",
                    "Give one of the two another 'target_path'.",
                )


def _named_elsewhere(spec: Spec) -> Iterator[Fault]:
    nodes = [node.name for node in spec.custom_nodes]
    models = [model.name for model in spec.models]
    asked = [
        ("run_install_scripts", spec.options.run_install_scripts, "custom node", nodes),
        ("allow_pickle", spec.options.allow_pickle, "model", models),
    ]
    named = [
        (f"options.{key}[{index}]", name, what, known)
        for key, names, what, known in asked
        for index, name in enumerate(names)
    ]
    on_nodes = [("options.import_needs", name) for name in spec.options.import_needs]
    on_nodes += [
        (f"models[{index}].target_node", model.target_node)
        for index, model in enumerate(spec.models)
        if model.target_node is not None
    ]
    named += [(place, name, "custom node", nodes) for place, name in on_nodes]
    for place, name, what, known in named:
        if name not in known:
            meant = nearest(name, known)
            yield (
                f"'{place}' names '{name}', but the spec has no {what} of that name",
                f"Did you mean '{meant}'?" if meant else f"Name a {what} of the spec.",
            )


def _overrides(spec: Spec) -> Iterator[Fault]:
    """Checks that several overrides of one distribution all have markers."""
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
            yield (
                f"'options.overrides[{index}]' is about '{parsed.name}', which "
                f"options.overrides[{first}] already overrides",
                "Keep one of the two, or give both a marker.",
            )


def spec_digest(spec: Spec) -> str:
    """`sha256:…` over everything in the spec that determines its lock.

    Unset fields are not included, so that a new optional field does not change the digest of a spec
    without it.
    """
    document = {"schema": "runpod-comfy/spec-digest/1", **spec.document()}
    del document["schema_version"]
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return digest_of(text.encode())
