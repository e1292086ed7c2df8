"""Starts the engine of a finished home, as the layer `check` does, whatever the cache knows."""

from __future__ import annotations

import shutil

from comfy_home.in_use import home_in_use
from comfy_home.manifest import CheckReport
from runpod_comfy.homes.job import LayerContext, Realization
from runpod_comfy.homes.run import plan_here
from runpod_comfy.homes.script import build_layer


def check_start(job: Realization) -> CheckReport:
    """Runs the check in the home of `job`, and returns its report.

    Raises OperationFailedError if the engine does not start, a node does not import, or the start
    changes the Python environment; the engine's output is then in the home.
    """
    layer = next(layer for layer in plan_here(job.lock).layers if layer.kind == "check")
    home = job.home
    context = LayerContext(job=job, venv=home.venv, logs=home.logs, packages=(), lock_fds=())
    with home_in_use(home.root, job.say):
        build_layer(layer, context)
        report = CheckReport.model_validate_json(context.check_report.read_bytes())
        shutil.rmtree(home.logs, ignore_errors=True)
    return report
