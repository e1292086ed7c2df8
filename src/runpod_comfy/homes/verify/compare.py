"""Compares two homes of one lock with each other: the core, the nodes, what install scripts
changed, the Python environment, and where the models are linked.

Whether a home is what its lock says is the question of `verify`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from comfy_errors.names import quantity
from comfy_files.files import digest_of
from comfy_home.tree_hash import tree_hash
from runpod_comfy.homes.home import Home, Realization, start_changes
from runpod_comfy.homes.install_scripts import read_install_record
from runpod_comfy.homes.verify.listing import walk
from runpod_comfy.homes.verify.trees import NOT_OF_CORE, Verification, described, files_of


@dataclass(frozen=True, kw_only=True)
class ComparedPart:
    """A part of two homes: `core`, `node:<name>`, `install:<name>`, `environment` or `models`.

    `digest` is that of the first home, `tree:…` or `sha256:…`. `differences` has a sentence for
    each file that differs, empty if the parts are equal. `size` says how much was compared.
    """

    name: str
    digest: str
    size: str
    differences: tuple[str, ...] = ()


def compare_homes(one: Realization, other: Realization) -> Iterator[ComparedPart]:
    """Compares two homes that were realized from one lock, part by part, and changes nothing.

    Files that the start of the engine changes are left out: with each start they may be others.
    """
    lock, homes = one.lock, (one.home, other.home)
    changed = {file.path for home in homes for file in start_changes(home)}
    names = [node.name for node in lock.custom_nodes]
    core = [*NOT_OF_CORE, *(f"custom_nodes/{name}" for name in names)]
    yield _compared_tree("core", "ComfyUI", homes, {*changed, *(f"ComfyUI/{it}" for it in core)})
    for name in names:
        yield _compared_tree(f"node:{name}", f"ComfyUI/custom_nodes/{name}", homes, changed)
    for name in lock.run_install_scripts:
        mine, others = ({"record": _recorded(home, name)} for home in homes)
        yield _compared(f"install:{name}", mine, others, size="what install.py changed")
    # Hard links of one file are read once.
    findings = Verification()
    mine, others = (
        findings.hashes_of(home.venv, sorted(_not_in(home.venv, home, changed))) for home in homes
    )
    yield _compared("environment", mine, others, size=quantity(len(mine), "file"))
    mine, others = (
        {it.target_path: _link(job, it.target_path) for it in lock.models} for job in (one, other)
    )
    yield _compared("models", mine, others, size=quantity(len(mine), "model"))


def _compared_tree(
    name: str, folder: str, homes: tuple[Home, Home], left_out: Collection[str]
) -> ComparedPart:
    """Compares the files of a folder. It and the paths `left_out` are relative to the home."""
    without = {home.root / path for home in homes for path in left_out}
    one, other = (tree_hash(home.root / folder, without=without) for home in homes)
    files: list[dict[str, str]] = [{}, {}]
    if one != other:
        for home, found in zip(homes, files, strict=True):
            for path in files_of(home.root / folder):
                if without.isdisjoint((path, *path.parents)):
                    found[str(path.relative_to(home.root))] = described(path)
    return ComparedPart(name=name, digest=one, size="", differences=_differences(*files))


def _compared(
    name: str, mine: Mapping[str, str], others: Mapping[str, str], *, size: str
) -> ComparedPart:
    digest = digest_of(json.dumps(mine, sort_keys=True).encode())
    return ComparedPart(name=name, digest=digest, size=size, differences=_differences(mine, others))


def _differences(mine: Mapping[str, str], others: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        f"{path}: {mine.get(path, 'nothing')}, and then {others.get(path, 'nothing')}"
        for path in sorted({*mine, *others})
        if mine.get(path) != others.get(path)
    )


def _not_in(venv: Path, home: Home, changed: Collection[str]) -> Iterator[str]:
    return (path for path in walk(venv) if f"{venv.relative_to(home.root)}/{path}" not in changed)


def _recorded(home: Home, node: str) -> str:
    record = read_install_record(home, node)
    return json.dumps(record.document() if record else None, sort_keys=True)


def _link(job: Realization, target_path: str) -> str:
    """Where the models folder of a home leads to, relative to it if that is inside."""
    found = os.path.realpath(job.home.models / target_path)
    inside = Path(found).is_relative_to(os.path.realpath(job.home.root))
    return target_path if inside else found
