"""The check of a version: one normal start of its engine on loopback, and what it taught.

`python -m rp_handler.check.run --home HOME --python PYTHON --report FILE` writes the report and,
into the home, the engine's `/object_info`. It fails if a package of nodes did not import.
With `--seal` the home's marker gets the report and is complete: in an image nothing comes after it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from asyncio import Task
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from comfy_errors import ComfyError, OperationFailedError, UnavailableError
from comfy_files.files import replace_file
from comfy_home.layout import OBJECT_INFO_NAME
from comfy_home.manifest import CheckReport, Manifest, load_manifest, save_manifest
from rp_handler.check.core_facts import (
    ModelProbe,
    known_flags,
    known_folders,
    leave_out_model_files,
    relative_folders,
)
from rp_handler.check.import_failures import ImportFailure, import_failures
from rp_handler.check.torch_imports import require_family
from rp_handler.engine.client import EngineClient
from rp_handler.engine.command import EngineSetup, engine_environment
from rp_handler.engine.process import Engine, read_lines
from rp_handler.errors import EngineStartError, listed
from rp_handler.interruption import interruptible

_CUSTOM_NODES = "custom_nodes."


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads `arguments`, checks, writes; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m rp_handler.check.run",
        description="Start the engine of a home once and record what it says about itself.",
    )
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--seal", action="store_true", help="note in the home that it is whole")
    options = parser.parse_args(arguments)
    home: Path = options.home.absolute()
    try:
        work = check(home, options.python.absolute(), options.report.absolute())
        report = asyncio.run(interruptible(work))
        if options.seal:
            seal(home, report)
    except ComfyError as error:
        sys.stderr.write(f"{error.in_words()}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


async def check(home: Path, python: Path, report: Path) -> CheckReport:
    """Boots the engine of `home` with `python`; writes `report` and the home's object_info.

    Raises OperationFailedError that names the member of torch's family that does not load, or each
    package of nodes that failed to import, and why; EngineStartError if the engine does not start.
    """
    core = home / "ComfyUI"
    manifest = load_manifest(home) or Manifest()
    flags = known_flags(core, python)
    with (
        tempfile.TemporaryDirectory(prefix="comfy-check-") as folder,
        tempfile.TemporaryDirectory(prefix="comfy-check-") as scratch,
    ):
        probe = ModelProbe(Path(folder), known_folders(core, python))
        setup = EngineSetup(
            core=core,
            python=python,
            arguments=manifest.comfy_args,
            variables=manifest.env,
            flags=frozenset(flags),
            cuda=manifest.cuda,
            extra_model_paths=probe.paths_file,
        )
        async with (
            _family_loading(setup, Path(scratch)) as family,
            Engine(setup) as engine,
            EngineClient(engine) as client,
        ):
            await family
            _judge(import_failures(read_lines(engine.log)))
            object_info = await _object_info(client)
            folders = await client.get("/internal/folder_paths") or {}
            probe.put()
            probed_info = await _object_info(client)
            ours = [Path(folder), engine.folders.output, engine.folders.temp]
        answer = CheckReport(
            comfyui_version=str(engine.stats["system"]["comfyui_version"]),
            node_classes=node_classes(object_info),
            folder_names=relative_folders(
                folders, models=[core / "models", home / "models"], leave_out=ours
            ),
            flags=flags,
            model_inputs=probe.found_in(probed_info),
        )
        leave_out_model_files(object_info, answer.model_inputs, folders)
    text = json.dumps(object_info, sort_keys=True)
    replace_file(home / OBJECT_INFO_NAME, f"{text}\n".encode())
    text = json.dumps(answer.model_dump(mode="json"), indent=2, sort_keys=True)
    replace_file(report, f"{text}\n".encode())
    return answer


@asynccontextmanager
async def _family_loading(setup: EngineSetup, scratch: Path) -> AsyncIterator[Task[None]]:
    """The family of torch, loaded by itself while the engine starts. Its error takes precedence
    over the engine's, which may have the same cause."""
    environment = engine_environment(setup, os.environ, spare_home=scratch)
    task = asyncio.create_task(require_family(setup.python, environment, scratch))
    try:
        yield task
    except EngineStartError:
        await task
        raise
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _object_info(client: EngineClient) -> dict[str, Any]:
    """What the engine says of its node classes; without them nothing could be checked later."""
    found = await client.get("/object_info")
    if not isinstance(found, dict):
        raise OperationFailedError(
            "ComfyUI starts, but does not tell which node classes it has (/object_info).",
            remedy="A node of the version may break this answer: its log says which. "
            "Leave that node out, or take another version of it; then resolve.",
        )
    return found


def seal(home: Path, report: CheckReport) -> None:
    """Completes the marker of `home`. Raises UnavailableError where it has none."""
    manifest = load_manifest(home)
    if manifest is None:
        raise UnavailableError(
            f"{home} has no marker to complete.", remedy="Give a home that was realized."
        )
    save_manifest(home, manifest.model_copy(update={"check": report, "complete": True}))


def node_classes(object_info: dict[str, Any]) -> dict[str, list[str]]:
    """Custom node package → its node classes, both sorted."""
    classes: dict[str, list[str]] = {}
    for name, info in sorted(object_info.items()):
        module = str(info.get("python_module", ""))
        if module.startswith(_CUSTOM_NODES):
            classes.setdefault(module.removeprefix(_CUSTOM_NODES), []).append(name)
    return dict(sorted(classes.items()))


def _judge(failures: list[ImportFailure]) -> None:
    """Raises for what the version cannot do without; warns of the rest."""
    fatal = []
    for failure in failures:
        # These call paid services over the network; a workflow seldom needs them.
        if failure.group == "comfy_api_nodes":
            sys.stderr.write(f"warning: {failure.sentence}\n")
        else:
            fatal.append(failure.sentence)
    if fatal:
        raise OperationFailedError(
            f"ComfyUI starts, but not with all of its nodes:{listed(sorted(fatal))}",
            remedy="Take a version of the node whose requirements.txt names all that it imports, "
            "settle a wrong version with the spec's options.overrides, or leave the node out; "
            "then resolve.",
        )


if __name__ == "__main__":
    sys.exit(main())
