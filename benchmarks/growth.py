"""Target 15: what one more node and one more model cost, with a core that needs no packages."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

from benchmarks.bare_versions import BareVersions
from benchmarks.model_files import write_model
from benchmarks.rows import Row
from benchmarks.samples import Samples, growth_ratio
from benchmarks.scratch import Scratch

_NODES = (1, 50, 100)
_MODELS = (1, 500, 1000)
_MODEL_BYTES = 32
_ROUNDS = 3
# The last item may cost this much more than the first ones before growth counts as more than flat.
_FLAT = 1.25
_STEPS = {
    "nodes": ("resolve", "realize"),
    "models": ("resolve", "realize", "verify-models --rehash"),
}

NOTES = (
    "15: on a stand-in for ComfyUI that needs no packages, so that the items are what is seen. "
    "Measured is the cost of an item in the upper half of the range over its cost in the lower "
    f"half; up to {_FLAT:g} counts as flat. Every node and model is new to the cache. "
    "These are seconds of the processor, of the program and all that it starts, because single "
    "items cost less than the noise of a clock on the wall.",
)


def measure(scratch: Scratch, say: Callable[[str], None]) -> list[Row]:
    """Rows for nodes and models: `resolve`, the first `realize`, and `verify-models` after it."""
    folder = scratch.new("growth")
    growth = _Growth(folder, scratch)
    # The core comes into the cache before anything is timed.
    growth.run(nodes=1, models=1)
    rows = []
    for what, sizes in (("nodes", _NODES), ("models", _MODELS)):
        taken: dict[int, list[tuple[float, ...]]] = {size: [] for size in sizes}
        for number in range(_ROUNDS):
            say(f"15: {what}, round {number + 1} of {_ROUNDS}")
            for size in sizes:
                taken[size].append(growth.run(**{what: size}))
        for step, command in enumerate(_STEPS[what]):
            samples = {size: Samples([each[step] for each in taken[size]]) for size in sizes}
            rows.append(_row(what, command, sizes, samples))
    scratch.drop(folder)
    return rows


class _Growth:
    """Writes specs with ever new items, and installs them."""

    def __init__(self, folder: Path, scratch: Scratch) -> None:
        self._scratch = scratch
        self._versions = BareVersions(folder)

    def run(self, *, nodes: int = 0, models: int = 0) -> tuple[float, ...]:
        """The processor's seconds for each step; the last only where there are models."""
        items = self._scratch.new("items")
        version = self._versions.write(
            nodes=_write_nodes(items, nodes), models=_write_models(items, models)
        )
        ours = self._versions.ours
        self._scratch.settle()
        home = self._scratch.new("home")
        marks = [_processor_s()]
        ours.resolve(version)
        marks.append(_processor_s())
        ours.realize(version, home)
        marks.append(_processor_s())
        if models:
            options = ("--models-dir", home / "models", "--rehash")
            ours.program.seconds("verify-models", version, *options)
            marks.append(_processor_s())
        self._scratch.drop(home, items)
        return tuple(after - before for before, after in pairwise(marks))


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
        write_model(path, _MODEL_BYTES)
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
