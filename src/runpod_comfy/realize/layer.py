"""Makes one layer on this machine: puts its inputs where the script looks, and runs the script."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from runpod_comfy.layers.plan import Layer, TreeInput
from runpod_comfy.layers.uv import (
    install_script_variables,
    outside_variables,
    uv_program,
    uv_variables,
)
from runpod_comfy.realize.environment.interpreter import find_interpreter
from runpod_comfy.realize.environment.packages import stored_indexes
from runpod_comfy.realize.job import LayerContext
from runpod_comfy.realize.script import run_script
from runpod_comfy.sources.index.pip_settings import read_pip_settings


def build_layer(
    layer: Layer, context: LayerContext, hear: Callable[[bytes], None] | None = None
) -> None:
    """Raises a ComfyError with the end of the script's output if it does not succeed.

    `hear` gets the output as it comes.
    """
    tmp = context.job.cache.tmp
    tmp.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tmp, prefix="layer-") as folder:
        inputs = Path(folder)
        for each in layer.inputs:
            if isinstance(each, TreeInput):
                (inputs / each.name).symlink_to(context.trees[each.digest])
            else:
                (inputs / each.name).write_text(each.text, encoding="utf-8")
        run_script(
            ["/bin/sh", str(layer.script)],
            title=f"the layer {layer.name}",
            environment=_variables(layer, inputs, context),
            log=context.log_of(layer),
            show=context.job.show,
            keep_open=context.lock_fds,
            hear=hear,
        )


def _variables(layer: Layer, inputs: Path, context: LayerContext) -> dict[str, str]:
    return {
        **outside_variables(),
        **_packages(layer, context),
        "OFFLINE": "1" if context.job.offline else "0",
        "HANDLER_PYTHON": sys.executable,
        "HANDLER_PATH": os.pathsep.join(path for path in sys.path if path),
        "CHECK_REPORT": str(context.check_report),
        **layer.variables(
            target="host",
            inputs=str(inputs),
            home=str(context.job.home.root),
            venv=str(context.venv),
        ),
    }


def _packages(layer: Layer, context: LayerContext) -> dict[str, str]:
    """For a layer that installs packages: the installer, and where packages come from."""
    job = context.job
    if layer.kind == "install":
        return install_script_variables(read_pip_settings(), os.environ, wheels_dir=job.wheels_dir)
    python = job.lock.python
    distributions = layer.distributions(python)
    if not distributions:
        return {}
    return {
        "UV": str(uv_program()),
        "PYTHON": str(find_interpreter(python.version)),
        "UV_CACHE_DIR": str(job.cache.uv),
        # Within the cache; uv itself copies, and says so, where that cannot be.
        "UV_LINK_MODE": "hardlink",
        **uv_variables(
            read_pip_settings(),
            os.environ,
            wheels_dir=job.wheels_dir,
            first_index=python.torch_index if layer.kind == "torch" else None,
            stored=stored_indexes(
                distributions, python=python.version, cache=job.cache, offline=job.offline
            ),
        ),
    }
