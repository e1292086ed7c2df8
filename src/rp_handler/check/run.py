"""The check of a version: starts its engine once, normally, on loopback, and records the results.

`python -m rp_handler.check.run --home HOME --python PYTHON --report FILE` writes the report and,
into the home, the engine's `/object_info`. Everything that the engine prints goes to standard
error. It fails if a package of nodes did not import, unless the machine lacks what the package
needs by the version's spec; its error is then the end of its output. With
`--seal` the report goes into the home's marker, which is then complete: in an image nothing comes
after the check.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import tempfile
from asyncio import Task
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from comfy_errors import ComfyError, OperationFailedError, UnavailableError
from comfy_errors.names import in_lines, printable
from comfy_files.files import replace_file
from comfy_files.progress import NOTE
from comfy_home.layout import DAMAGE_NAME, OBJECT_INFO_NAME, HomeLayout
from comfy_home.manifest import (
    ChangedFile,
    CheckReport,
    Manifest,
    NotImported,
    in_environment,
    load_manifest,
    save_manifest,
)
from rp_handler.check.core_facts import (
    ModelProbe,
    known_flags,
    known_folders,
    leave_out_model_files,
    relative_folders,
)
from rp_handler.check.remedies import remedy_for
from rp_handler.check.start_changes import (
    StartWatch,
    changed_environment,
)
from rp_handler.check.torch_imports import require_family
from rp_handler.engine.client import EngineClient
from rp_handler.engine.command import EngineSetup, engine_environment, read_only_folders
from rp_handler.engine.import_faults import ImportFault, import_faults, unlisted_nodes
from rp_handler.engine.process import Engine
from rp_handler.errors import EngineStartError
from rp_handler.interruption import interruptible

_CUSTOM_NODES = "custom_nodes."
_LONGEST_LOG = 1_500_000
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses `arguments`, runs the check, writes the report; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m rp_handler.check.run",
        description="Start the engine of a home once and record what it says about itself.",
    )
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--seal", action="store_true", help="mark the home as complete")
    options = parser.parse_args(arguments)
    home: Path = options.home.absolute()
    try:
        work = check(home, options.python.absolute(), options.report.absolute())
        report = asyncio.run(interruptible(work))
        if options.seal:
            seal(home, report)
    except ComfyError as error:
        sys.stderr.write(f"{error.in_words()}\n")
        is_fault_of_node = isinstance(error, EngineStartError) and "node" in error.details
        return OperationFailedError.exit_code if is_fault_of_node else error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


async def check(home: Path, python: Path, report: Path) -> CheckReport:
    """Boots the engine of `home` with `python`; writes `report` and the home's object_info.

    A node that ends the engine where the machine lacks what it needs is left out then. Raises
    OperationFailedError naming the package of the torch family that does not load, or each node
    package that failed to import, with the reason; EngineStartError if the engine does not start.
    """
    manifest = load_manifest(home) or Manifest()
    left_out: dict[str, NotImported] = {}
    while True:
        try:
            return await _check_once(home, python, report, manifest, left_out)
        except EngineStartError as error:
            name = str(error.details.get("node"))
            needs = manifest.unmet_here(manifest.import_needs.get(name, ()), os.environ)
            if not needs or name in left_out:
                raise
            reason = " ".join(error.message.partition(";")[0].split())
            left_out[name] = NotImported(needs=needs, reason=reason, ends_engine=True)


async def _check_once(
    home: Path,
    python: Path,
    report: Path,
    manifest: Manifest,
    left_out: Mapping[str, NotImported],
) -> CheckReport:
    layout = HomeLayout(root=home)
    core = layout.comfyui
    watching = asyncio.get_running_loop().run_in_executor(None, StartWatch, layout)
    flags = known_flags(core, python)
    unmet = manifest.needs_unmet_here(os.environ)
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
            read_only=read_only_folders(
                python, os.environ, writable_environment=manifest.writable_environment
            ),
            left_out=frozenset(left_out),
        )
        engine = Engine(setup, log_say=_say_log(), keeps_log=False)
        async with (
            _watched(await watching, layout, manifest, report) as changed,
            _family_loading(setup, Path(scratch)) as family,
            _explained(engine, layout, manifest),
            engine,
            EngineClient(engine) as client,
        ):
            await family
            imports = engine.imports
            if not imports.is_observed:
                raise EngineStartError(
                    f"{python} does not import sitecustomize, so how ComfyUI executes nodes cannot "
                    "be observed.",
                    remedy="If the spec's env sets a PYTHON… variable, remove it and resolve.",
                )
            names = [node.name for node in manifest.nodes]
            faults = import_faults(imports, core=core, nodes=names)
            excused = {**not_imported(faults, manifest.import_needs, unmet), **left_out}
            _judge([each for each in faults if each.name not in excused], layout, manifest)
            object_info = await _object_info(client)
            _judge(unlisted_nodes(imports, object_info, faults), layout, manifest)
            folders = await client.get("/internal/folder_paths") or {}
            probe.put()
            probed_info = await _object_info(client)
            ours = [Path(folder), engine.folders.output, engine.folders.temp]
        answer = CheckReport(
            comfyui_version=str(engine.stats["system"]["comfyui_version"]),
            node_classes=node_classes(object_info),
            folder_names=relative_folders(
                folders,
                models=[layout.core_models, layout.models, layout.shipped_models],
                leave_out=ours,
            ),
            flags=flags,
            model_inputs=probe.found_in(probed_info),
            unmet_needs=unmet,
            not_imported=excused,
            changed=changed,
        )
        leave_out_model_files(object_info, answer.model_inputs, folders)
    text = json.dumps(object_info, sort_keys=True)
    replace_file(home / OBJECT_INFO_NAME, f"{text}\n".encode())
    text = json.dumps(answer.model_dump(mode="json"), indent=2, sort_keys=True)
    replace_file(report, f"{text}\n".encode())
    if answer.changed:
        # The build of an image shows notes; `realize` says it itself, also for a recalled report.
        sys.stderr.write(f"{NOTE}{answer.changes_in_words}\n")
    return answer


def _say_log() -> Callable[[str], None]:
    """Passes on ComfyUI's output, but not so much that the end of ours would be cut off: BuildKit
    keeps the first 2 MiB of a step.
    """
    left = _LONGEST_LOG

    def say(line: str) -> None:
        nonlocal left
        if left > 0:
            left -= len(line) + 1
            sys.stderr.write(f"{line}\n" if left > 0 else "(the rest is left out)\n")
            sys.stderr.flush()

    return say


@asynccontextmanager
async def _explained(engine: Engine, home: HomeLayout, manifest: Manifest) -> AsyncIterator[None]:
    """Adds to the error of an engine that does not start what to do about the node that ended
    it.
    """
    try:
        yield
    except EngineStartError as error:
        module = engine.imports.last_executed
        if module is None or engine.stats:
            raise
        fault = ImportFault(
            group=module.group, name=module.name, fault="ended ComfyUI", event=module
        )
        remedy = f"{error.remedy} {remedy_for(fault, home, manifest)}".strip()
        details = {**error.details, **({"node": module.name} if fault.is_custom else {})}
        raise EngineStartError(error.message, remedy=remedy, details=details) from error


@asynccontextmanager
async def _watched(
    watch: StartWatch, home: HomeLayout, manifest: Manifest, report: Path
) -> AsyncIterator[list[ChangedFile]]:
    """Fills a list with what the block's start of the engine changed in the home.

    Raises OperationFailedError if the environment changed and may not; then the paths are also in a
    file beside the report, even if the block fails.
    """
    changed: list[ChangedFile] = []
    paths: list[str] = []
    try:
        yield changed
    finally:
        changed += watch.changes()
        if not manifest.writable_environment and (paths := list(in_environment(changed))):
            place = report.with_name(DAMAGE_NAME)
            replace_file(place, json.dumps(paths).encode())
    if paths:
        raise changed_environment(paths, home)


@asynccontextmanager
async def _family_loading(setup: EngineSetup, scratch: Path) -> AsyncIterator[Task[None]]:
    """Loads the torch family by itself while the engine starts. Its error takes precedence over the
    engine's, which may have the same cause.
    """
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
    """The engine's `/object_info`, which later checks of workflows depend on."""
    found = await client.get("/object_info")
    if not isinstance(found, dict):
        raise OperationFailedError(
            "ComfyUI starts, but does not list its node classes (/object_info).",
            remedy="A node of the version may break this request: its log says which. Remove "
            "that node, or use another version of it; then resolve.",
        )
    return found


def seal(home: Path, report: CheckReport) -> None:
    """Completes the marker of `home`. Raises UnavailableError if it has none."""
    manifest = load_manifest(home)
    if manifest is None:
        raise UnavailableError(
            f"{home} has no marker (.comfy_env).", remedy="Name a realized home."
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


def not_imported(
    faults: Iterable[ImportFault], needs: Mapping[str, Sequence[str]], unmet: Collection[str]
) -> dict[str, NotImported]:
    """The nodes that failed where some of their `needs` are `unmet`, sorted by name."""
    found: dict[str, NotImported] = {}
    for fault in faults:
        lacked = [need for need in needs.get(fault.name, ()) if need in unmet]
        if not (fault.is_custom and lacked):
            continue
        earlier = f"{found[fault.name].reason}; " if fault.name in found else ""
        # An address in memory is another one each time.
        reason = _ADDRESS.sub("0x…", f"{earlier}{fault.fault}: {fault.reason}")
        found[fault.name] = NotImported(needs=lacked, reason=reason)
    return found


def _judge(faults: Sequence[ImportFault], home: HomeLayout, manifest: Manifest) -> None:
    """Raises for faults that the version cannot work with; warns about the rest."""
    fatal = []
    for fault in faults:
        # These call paid services over the network; workflows seldom need them.
        if fault.group == "comfy_api_nodes":
            sys.stderr.write(f"Warning: {printable(fault.sentence)}\n")
        else:
            fatal.append(fault)
    if not fatal:
        return
    # A node may have kept ComfyUI from logging them.
    sys.stderr.writelines(fault.event.traceback for fault in fatal if fault.event)
    remedies = [remedy_for(fault, home, manifest) for fault in fatal]
    if len(fatal) == 1:
        raise OperationFailedError(f"ComfyUI starts, but {fatal[0].sentence}", remedy=remedies[0])
    lines = [f"{fault.sentence}\n  → {step}" for fault, step in zip(fatal, remedies, strict=True)]
    raise OperationFailedError(f"ComfyUI starts, but {len(fatal)} nodes fail:{in_lines(lines)}")


if __name__ == "__main__":
    sys.exit(main())
