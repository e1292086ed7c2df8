"""Target 15: what one more node and one more model cost, with a core that needs no packages."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.ours import Ours
from benchmarks.rows import Row
from benchmarks.samples import Samples, growth_ratio
from benchmarks.scratch import Scratch

_NODES = (1, 50, 100)
_MODELS = (1, 500, 1000)
_ROUNDS = 3
# The last item may cost this much more than the first ones before growth counts as more than flat.
_FLAT = 1.25
_CORE = Path(__file__).resolve().parents[1] / "tests" / "bare_core"

NOTES = (
    "15: on a stand-in for ComfyUI that needs no packages, so that the items are what is seen. "
    "Measured is the cost of an item in the upper half of the range over its cost in the lower "
    f"half; up to {_FLAT:g} counts as flat. Every node and model is new to the cache. "
    "These are seconds of the processor, of the program and all that it starts, because single "
    "items cost less than the noise of a clock on the wall.",
)


def measure(scratch: Scratch, say: Callable[[str], None]) -> list[Row]:
    """Rows for nodes and models, each for `resolve` and for the first `realize`."""
    folder = scratch.new("growth")
    (folder / "workspace" / "versions").mkdir(parents=True)
    shutil.copytree(_CORE, folder / "core", ignore=shutil.ignore_patterns("BUILD", "__pycache__"))
    growth = _Growth(folder, scratch)
    # The core comes into the cache before anything is timed.
    growth.run(nodes=1, models=1)
    rows = []
    for what, sizes in (("nodes", _NODES), ("models", _MODELS)):
        taken: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
        for number in range(_ROUNDS):
            say(f"15: {what}, round {number + 1} of {_ROUNDS}")
            for size in sizes:
                taken[size].append(growth.run(**{what: size}))
        for step, command in enumerate(("resolve", "realize")):
            samples = {size: Samples([each[step] for each in taken[size]]) for size in sizes}
            rows.append(_row(what, command, sizes, samples))
    scratch.drop(folder)
    return rows


class _Growth:
    """Writes specs with ever new items, and installs them."""

    def __init__(self, folder: Path, scratch: Scratch) -> None:
        self._folder = folder
        self._scratch = scratch
        self._ours = Ours(workspace=folder / "workspace", cache=folder / "cache")
        self._count = 0

    def run(self, *, nodes: int = 0, models: int = 0) -> tuple[float, float]:
        """The processor's seconds for `resolve` and for `realize`."""
        self._count += 1
        version = f"growth-{self._count}"
        items = self._folder / version
        spec = {
            "schema_version": 2,
            "version_id": version,
            "comfy": {"repo": str(self._folder / "core")},
            "custom_nodes": list(_write_nodes(items, nodes)),
            "models": list(_write_models(items, models)),
        }
        path = self._ours.workspace / "versions" / f"{version}.json"
        path.write_text(json.dumps(spec))
        self._scratch.settle()
        home = self._scratch.new("home")
        started = _processor_s()
        self._ours.resolve(version)
        resolved = _processor_s()
        self._ours.realize(version, home)
        seconds = resolved - started, _processor_s() - resolved
        self._scratch.drop(home, items)
        return seconds


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _write_nodes(items: Path, number: int) -> Iterable[dict[str, str]]:
    for index in range(number):
        folder = items / "nodes" / f"node-{index}"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(f"NODE_CLASS_MAPPINGS = {{}}\nNAME = {str(folder)!r}\n")
        yield {"name": folder.name, "repo": str(folder)}


def _write_models(items: Path, number: int) -> Iterable[dict[str, str]]:
    for index in range(number):
        path = items / "models" / f"model-{index}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        # A whole file of the format: the length of the header, and a header that names no tensor.
        header = json.dumps({"__metadata__": {"name": str(path)}}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        yield {"name": path.name, "source": str(path), "target_subdir": "checkpoints"}


def _row(what: str, command: str, sizes: tuple[int, ...], taken: dict[int, Samples]) -> Row:
    # Noise only ever adds, so that the least of each is what tells them apart.
    least = [taken[size].least for size in sizes]
    ratio = growth_ratio(sizes, least)
    each_ms = (least[-1] - least[0]) / (sizes[-1] - sizes[0]) * 1000
    return Row(
        target=15,
        what=f"{command}, 1 → {sizes[-1]} {what}: {each_ms:.1f} ms each",
        measured=f"{ratio:.2f}×",
        wanted=f"≤ {_FLAT:g}×",
        met=ratio <= _FLAT,
        samples={f"{size} {what}": taken[size] for size in sizes},
    )
