"""Target 19: resolving many nodes, with the index in the cache."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.material import RELEASE, TORCH
from benchmarks.ours import Ours
from benchmarks.processes import Program
from benchmarks.rows import Row, ratio_at_most
from benchmarks.samples import Samples
from benchmarks.scratch import Scratch
from benchmarks.variables import plain_variables
from runpod_comfy.sources.index.pip_settings import uv_program
from tests.comfy_releases import comfy_repository, downloads_folder

NODES = Path(__file__).parent / "popular_nodes"
"""Requirement files of popular nodes; a node's is `<node>/requirements.txt`."""

_ROUNDS = 3
_FROM_A_REPOSITORY = re.compile(r"^git\+.*/(?P<name>[\w-]+?)(\.git)?$", re.MULTILINE)
_VERSION = "many-nodes"

NOTES = (
    f"19: the requirements of ComfyUI {RELEASE.removeprefix('v')} and of popular nodes, without "
    "the lines that name a repository. Ours also hashes the trees, fits the torch family together, "
    "chooses one opencv and one onnxruntime, and lists all files with their hashes.",
)


def measure(scratch: Scratch, say: Callable[[str], None]) -> list[Row]:
    """Ours and `uv pip compile` in turn, after one run of each that fills its cache."""
    folder = scratch.new("many-nodes")
    (folder / "workspace" / "versions").mkdir(parents=True)
    repository = comfy_repository(downloads_folder())
    _write_version(folder, repository.url, repository.commits[RELEASE])
    core = subprocess.run(
        ["git", "-C", str(repository.path), "show", f"{RELEASE}:requirements.txt"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (folder / "lines.txt").write_text("\n".join([core, *_lines()]))
    (folder / "torch.txt").write_text(f"torch=={TORCH}\n")
    ours = Ours(workspace=folder / "workspace", cache=folder / "cache")
    compile_ = Program(
        command=(str(uv_program()), "pip", "compile", "--quiet"),
        variables=plain_variables(),
        folder=folder,
        log=folder / "compile.log",
    )
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(_ROUNDS + 1):
        say(
            f"19: many nodes, {f'round {number} of {_ROUNDS}' if number else 'filling both caches'}"
        )
        # Without the lock of the last round, which would be kept.
        scratch.drop(folder / "workspace" / "lockfiles", folder / "cache" / "resolved")
        (folder / "out.txt").unlink(missing_ok=True)
        scratch.settle()
        taken[0].append(ours.resolve(_VERSION))
        taken[1].append(
            compile_.seconds(
                *("--cache-dir", folder / "uv-cache", "--python-version", "3.11"),
                *("--constraints", "torch.txt", "lines.txt", "--output-file", "out.txt"),
            )
        )
    scratch.drop(folder)
    row = ratio_at_most(
        19,
        "resolve of many nodes, in runs of uv pip compile on the same lines",
        ours=("ours", Samples(taken[0][1:])),
        beside=("uv pip compile", Samples(taken[1][1:])),
        at_most=1.5,
    )
    return [row]


def _lines() -> Iterator[str]:
    for file in sorted(NODES.glob("*/requirements.txt")):
        yield _FROM_A_REPOSITORY.sub("", file.read_text())


def _write_version(folder: Path, core: str, commit: str) -> None:
    """The spec, and beside it the nodes as folders."""
    names = []
    left_out: list[str] = []
    for file in sorted(NODES.glob("*/requirements.txt")):
        node = folder / "nodes" / file.parent.name
        node.mkdir(parents=True)
        (node / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
        (node / file.name).write_bytes(file.read_bytes())
        names.append(node.name)
        left_out += [found["name"] for found in _FROM_A_REPOSITORY.finditer(file.read_text())]
    spec = {
        "schema_version": 2,
        "version_id": _VERSION,
        "comfy": {"repo": core, "commit": commit},
        "custom_nodes": [{"name": name, "repo": str(folder / "nodes" / name)} for name in names],
        "options": {
            "torch": {"version": TORCH},
            "overrides": [f"{name} ; python_version < '3'" for name in left_out],
        },
    }
    path = folder / "workspace" / "versions" / f"{_VERSION}.json"
    path.write_text(json.dumps(spec))
