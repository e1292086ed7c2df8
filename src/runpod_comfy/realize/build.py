"""Makes one layer in a home: puts its inputs where the script looks, and runs the script."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from comfy_files.progress import Say
from runpod_comfy.cache.paths import Cache
from runpod_comfy.layers.layer import Layer, TreeInput
from runpod_comfy.lock.model import PythonLock
from runpod_comfy.realize.environment.interpreter import find_interpreter
from runpod_comfy.realize.environment.packages import stored_indexes
from runpod_comfy.realize.environment.uv import (
    index_variables,
    outside_variables,
    script_variables,
    uv_program,
)
from runpod_comfy.realize.home import Home
from runpod_comfy.realize.prepare.progress import Progress
from runpod_comfy.realize.script import run_script

_INSTALLS = ("torch", "wheels")


@dataclass(frozen=True, kw_only=True)
class LayerContext:
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
    layer: Layer, context: LayerContext, hear: Callable[[bytes], None] | None = None
) -> None:
    """Raises a ComfyError with the end of the script's output if it does not succeed.

    `hear` gets the output as it comes.
    """
    context.cache.tmp.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=context.cache.tmp, prefix="layer-") as folder:
        inputs = layer_inputs(layer, Path(folder), context)
        run_script(
            ["/bin/sh", str(layer.script)],
            title=f"the layer {layer.name}",
            environment=layer_variables(layer, inputs, context),
            log=context.log_of(layer),
            show=context.show,
            keep_open=context.lock_fds,
            hear=hear,
        )


def layer_inputs(layer: Layer, folder: Path, context: LayerContext) -> Path:
    """Puts the inputs of a layer into `folder`, as `$INPUTS` has them; gives the folder."""
    folder.mkdir(exist_ok=True)
    for each in layer.inputs:
        if isinstance(each, TreeInput):
            (folder / each.name).symlink_to(context.trees[each.digest])
        else:
            (folder / each.name).write_text(each.text, encoding="utf-8")
    return folder


def layer_variables(layer: Layer, inputs: Path, context: LayerContext) -> dict[str, str]:
    """The variables that the script of a layer runs with."""
    return {
        **outside_variables(),
        **_places(context, inputs),
        **(_installer(layer, context) if layer.kind in _INSTALLS else {}),
        **(script_variables(context.wheels_dir) if layer.kind == "install" else {}),
        "SOURCE_DATE_EPOCH": str(layer.epoch),
        **layer.environment,
    }


def _places(context: LayerContext, inputs: Path) -> dict[str, str]:
    return {
        "TARGET": "host",
        "INPUTS": str(inputs),
        "COMFY_HOME": str(context.home.root),
        "VENV": str(context.venv),
        "OFFLINE": "1" if context.offline else "0",
        "HANDLER_PYTHON": sys.executable,
        "HANDLER_PATH": os.pathsep.join(path for path in sys.path if path),
        "CHECK_REPORT": str(context.check_report),
    }


def _installer(layer: Layer, context: LayerContext) -> dict[str, str]:
    python = context.python
    stored = stored_indexes(
        python.torch if layer.kind == "torch" else python.wheels,
        python=python.version,
        cache=context.cache,
        offline=context.offline,
    )
    return {
        "UV": str(uv_program()),
        "PYTHON": str(find_interpreter(python.version)),
        # Within the cache; uv itself copies, and says so, where that cannot be.
        "UV_LINK_MODE": "hardlink",
        **index_variables(
            cache=context.cache,
            wheels_dir=context.wheels_dir,
            first_index=python.torch_index if layer.kind == "torch" else None,
            stored=stored,
        ),
    }
