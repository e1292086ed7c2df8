"""Runs workflows for a comparison: in a home that is realized first, or in an image. Two of
them also show the node whose output differs first, for `--explain`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_errors import (
    ComfyError,
    InvalidInputError,
    OperationFailedError,
    error_at_the_end,
    error_kind,
)
from comfy_files.user_paths import expanded
from runpod_comfy.cli.options import given, named_version
from runpod_comfy.cli.realize import find_job, realize_visibly
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from comfy_workflows.compare.compare import Comparison
    from comfy_workflows.compare.run import Device
    from comfy_workflows.node_inputs import ObjectInfo

EXPLAIN_HELP = "where outputs differ, run once more and name the node that differs first"
# What only a home has.
_OF_HOMES = ("target", "wheels_dir", "update", "port")


@dataclass(frozen=True, kw_only=True)
class Runner:
    """`run` runs the workflow in a file on the version, and returns the result document; it raises
    ComfyError and OSError. With `hashes_nodes=True` the document has `node_hashes`. `node_classes`
    gives the version's `/object_info`, as recorded when it was checked; None if it was not.
    `known_device` gives the device of the next run; None if only the run will show it.
    """

    version_id: str
    run: Callable[..., dict[str, Any]]
    node_classes: Callable[[], ObjectInfo | None]
    known_device: Callable[[], Device | None]


def runner_of(arguments: argparse.Namespace, console: Console, *, output: str) -> Runner:
    """What runs workflows as the options of `run` say, and `--image`. Realizes the version first.

    `output` is the mode of outputs. Raises what realizing raises.
    """
    if arguments.image is not None:
        return _in_image(arguments, console, output=output)
    return _in_home(arguments, console, output=output)


def _in_home(arguments: argparse.Namespace, console: Console, *, output: str) -> Runner:
    job = find_job(arguments, console)
    realize_visibly(job, console)
    return runner_at(
        job.target,
        job.lock.version_id,
        output=output,
        timeout_s=arguments.timeout,
        **given(arguments, "models_dir", "output_dir", "port", "verbose"),
    )


def runner_at(home: Path, version_id: str, *, verbose: bool, **options: Any) -> Runner:
    """What runs workflows in a realized home. `options` are those of `make_request`."""
    from comfy_files.progress import StatusLine
    from rp_handler.home.realized import open_home
    from rp_handler.job.terminal import listening
    from rp_handler.main import perform
    from rp_handler.run_request import make_request

    def run(workflow: Path, *, hashes_nodes: bool = False) -> dict[str, Any]:
        request = make_request(os.environ, workflow=workflow, verbose=verbose, **options)
        request = replace(request, version_id=version_id, home=home, hashes_nodes=hashes_nodes)
        with listening(StatusLine(sys.stderr), shows_log=verbose) as listener:
            result = perform(request, listener)
        assert not isinstance(result, int), "only what serves ends with a code"
        return result

    def node_classes() -> ObjectInfo | None:
        return open_home(home, version_id=version_id, id_was_asked=True).recorded_classes

    return Runner(
        version_id=version_id,
        run=run,
        node_classes=node_classes,
        known_device=lambda: device_of_home(home, version_id),
    )


def device_of_home(home: Path, version_id: str) -> Device | None:
    """What a run in a realized home computes on; None if only the run will show it. Raises what
    `open_home` raises.
    """
    from comfy_workflows.compare.run import Device
    from rp_handler.engine.command import runs_on_cpu
    from rp_handler.home.realized import open_home
    from rp_handler.job.device import device_of

    manifest = open_home(home, version_id=version_id, id_was_asked=True).manifest
    if not runs_on_cpu(manifest.comfy_args, manifest.env, os.environ):
        return None
    return Device.model_validate(device_of({"devices": [{"type": "cpu"}]}))


def _in_image(arguments: argparse.Namespace, console: Console, *, output: str) -> Runner:
    from runpod_comfy.api.images import device_of_image, node_classes_of_image, run_image
    from runpod_comfy.api.workspace import version_id_of
    from runpod_comfy.lock.store import load_lock

    refused = [f"--{name.replace('_', '-')}" for name in _OF_HOMES if getattr(arguments, name)]
    if refused:
        raise InvalidInputError(
            f"{' and '.join(refused)} cannot be used with --image",
            remedy=f"Leave out --image, or {' and '.join(refused)}.",
        )
    named = named_version(arguments)
    if named is None and arguments.lock is not None:
        named = load_lock(expanded(arguments.lock)).version_id
    version_id = version_id_of(named)

    def run(workflow: Path, *, hashes_nodes: bool = False) -> dict[str, Any]:
        console.say(f"Running {workflow} in a container of {arguments.image}")
        said, shown = io.BytesIO(), io.BytesIO()
        code = run_image(
            version_id,
            workflow=workflow,
            output=output,
            as_json=True,
            timeout_s=arguments.timeout,
            node_hashes=hashes_nodes,
            **given(arguments, "output_dir", "models_dir", "image", "spec", "lock", "project"),
            out=said,
            err=sys.stderr.buffer if arguments.verbose else shown,
            say=console.say,
            explain=console.explain,
        )
        if code:
            raise _error_of(code, shown.getvalue())
        return _result_in(said.getvalue(), arguments.image)

    return Runner(
        version_id=version_id,
        run=run,
        node_classes=lambda: node_classes_of_image(arguments.image),
        known_device=lambda: device_of_image(arguments.image),
    )


def _error_of(code: int, shown: bytes) -> ComfyError:
    """The error that a container ended with, from what it printed."""
    found = error_at_the_end(shown.decode(errors="replace").splitlines())
    message, remedy = found or (f"the container ended with exit code {code}", "")
    return error_kind(code)(message, remedy=remedy)


def _result_in(printed: bytes, image: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        result = json.loads(printed)
        if isinstance(result, dict):
            return result
    raise OperationFailedError(
        f"the container of {image} printed no result",
        remedy="Run the command again with --verbose.",
    )


def explained(
    comparison: Comparison,
    workflow: Path,
    console: Console,
    *,
    runners: Sequence[Runner],
    first: Mapping[str, Any] | None = None,
) -> Comparison:
    """`comparison`, with what two runs of the workflow on one version show.

    One that holds is returned as it is. The workflow runs once on each of the two `runners`; where
    that fails, a note says so. `first` is the result of a run of the first one with hashes of its
    nodes, if there was one.
    """
    from comfy_workflows.compare.nodes import Explanation, explain_difference
    from comfy_workflows.graph import load_workflow

    if comparison.holds:
        return comparison
    console.say("Running the workflow again, to find the node whose output differs first")
    try:
        before = first if first is not None else runners[0].run(workflow, hashes_nodes=True)
        after = runners[1].run(workflow, hashes_nodes=True)
        found = explain_difference(before, after, load_workflow(workflow))
    except (ComfyError, OSError) as error:
        # The difference that was found stays the answer.
        found = Explanation(sentence=f"No node can be named, because another run failed: {error}")
    notes = (*comparison.notes, found.sentence, *found.notes)
    return replace(comparison, notes=notes, explanation=found.document())
