"""Makes one layer in a home: puts its inputs where the script looks, and runs the script."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runpod_comfy.layers.layer import Layer, TreeInput
from runpod_comfy.lock.model import PythonLock
from runpod_comfy.realize.home import Home
from runpod_comfy.realize.installer import (
    index_variables,
    outside_variables,
    script_variables,
    uv_program,
)
from runpod_comfy.realize.interpreter import find_interpreter
from runpod_comfy.realize.packages import stored_indexes
from runpod_comfy.realize.progress import Progress
from runpod_comfy.realize.script import run_script
from runpod_comfy.sources.cache import Cache
from runpod_comfy.sources.tree import Say

_INSTALLS = ("torch", "wheels")


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What every script of one realization is given.

    `venv` is where the Python environment lies, `logs` where output goes, `python` what the lock
    says of packages. `trees` are the fetched trees by hash, `show` is where output is to be seen
    as it comes, `lock_fds` the locks of the home and of the cache, which a script keeps for as
    long as it runs.
    """

    home: Home
    venv: Path
    logs: Path
    cache: Cache
    python: PythonLock
    trees: Mapping[str, Path]
    wheels_dir: Path | None
    offline: bool
    say: Say
    progress: Progress
    show: BinaryIO | None
    lock_fds: tuple[int, ...]

    @property
    def check_report(self) -> Path:
        return self.logs / "check-report.json"

    def log_of(self, layer: Layer) -> Path:
        return self.logs / f"{layer.name.replace(':', '-')}.log"


def build_layer(
    layer: Layer, workshop: Workshop, hear: Callable[[bytes], None] | None = None
) -> None:
    """Raises a ComfyError with the end of the script's output if it does not succeed.

    `hear` gets the output as it comes.
    """
    workshop.cache.tmp.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workshop.cache.tmp, prefix="layer-") as folder:
        inputs = layer_inputs(layer, Path(folder), workshop)
        run_script(
            ["/bin/sh", str(layer.script)],
            title=f"the layer {layer.name}",
            environment=layer_variables(layer, inputs, workshop),
            log=workshop.log_of(layer),
            show=workshop.show,
            keep_open=workshop.lock_fds,
            hear=hear,
        )


def layer_inputs(layer: Layer, folder: Path, workshop: Workshop) -> Path:
    """Puts the inputs of a layer into `folder`, as `$INPUTS` has them; gives the folder."""
    folder.mkdir(exist_ok=True)
    for each in layer.inputs:
        if isinstance(each, TreeInput):
            (folder / each.name).symlink_to(workshop.trees[each.digest])
        else:
            (folder / each.name).write_text(each.text, encoding="utf-8")
    return folder


def layer_variables(layer: Layer, inputs: Path, workshop: Workshop) -> dict[str, str]:
    """The variables that the script of a layer runs with."""
    return {
        **outside_variables(),
        **_places(workshop, inputs),
        **(_installer(layer, workshop) if layer.kind in _INSTALLS else {}),
        **(script_variables(workshop.wheels_dir) if layer.kind == "install" else {}),
        "SOURCE_DATE_EPOCH": str(layer.epoch),
        **layer.environment,
    }


def _places(workshop: Workshop, inputs: Path) -> dict[str, str]:
    return {
        "TARGET": "host",
        "INPUTS": str(inputs),
        "COMFY_HOME": str(workshop.home.root),
        "VENV": str(workshop.venv),
        "OFFLINE": "1" if workshop.offline else "0",
        "HANDLER_PYTHON": sys.executable,
        "HANDLER_PATH": os.pathsep.join(path for path in sys.path if path),
        "CHECK_REPORT": str(workshop.check_report),
    }


def _installer(layer: Layer, workshop: Workshop) -> dict[str, str]:
    python = workshop.python
    stored = stored_indexes(
        python.torch if layer.kind == "torch" else python.wheels,
        python=python.version,
        cache=workshop.cache,
        offline=workshop.offline,
    )
    return {
        "UV": str(uv_program()),
        "PYTHON": str(find_interpreter(python.version)),
        # Within the cache; uv itself copies, and says so, where that cannot be.
        "UV_LINK_MODE": "hardlink",
        **index_variables(
            cache=workshop.cache,
            wheels_dir=workshop.wheels_dir,
            first_index=python.torch_index if layer.kind == "torch" else None,
            stored=stored,
        ),
    }
