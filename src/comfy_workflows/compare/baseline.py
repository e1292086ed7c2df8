"""A workflow's baseline: what its outputs were on each device, and their files to compare with.

The files lie beside it, in a folder with its name: `x.baseline/` for `x.baseline.json`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from comfy_errors import InvalidInputError, OperationFailedError, UnavailableError
from comfy_errors.names import listed
from comfy_files.files import disk_errors, lock, os_reason, replace_file, sha256_of
from comfy_files.json_file import read_model, read_object
from comfy_files.json_model import Strict
from comfy_files.progress import Say, say_nothing
from comfy_workflows.compare.compare import Comparison, compare
from comfy_workflows.compare.content import Content
from comfy_workflows.compare.output import Output, OutputKind
from comfy_workflows.compare.run import Circumstances, Device, Run
from comfy_workflows.compare.tolerance import Tolerance
from comfy_workflows.folder import is_baseline

FORMAT = 2
_SCHEMA = re.compile(r"runpod-comfy/baseline/(\d{1,9})")
_FILE_NAME = re.compile(r"[0-9a-f]{16}(\.[0-9a-z]{1,10})?")
_RECORD = "Run the same command with --mode record."
_RECORD_AGAIN = "Delete it, and record it again."


class RecordedOutput(Strict):
    """One output: its place, its hashes, and the name of its file in the baseline's folder."""

    node: str
    kind: OutputKind
    number: int = Field(ge=0)
    name: str
    mime: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    content: Content
    file: str = Field(pattern=f"^{_FILE_NAME.pattern}$")


class Entry(Strict):
    """The outputs on one device."""

    circumstances: Circumstances
    outputs: list[RecordedOutput]


class Baseline(Strict):
    """A baseline file. `workflow` is the digest of the graph, as `workflow_digest` gives it."""

    schema_tag: Literal["runpod-comfy/baseline/2"] = Field(alias="schema")
    workflow: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    entries: list[Entry]

    def entry_for(self, device: Device) -> Entry | None:
        return next(
            (one for one in self.entries if one.circumstances.device.key == device.key), None
        )


def load_baseline(path: Path, *, workflow: str, may_be_empty: bool = False) -> Baseline:
    """The baseline at `path`, of the workflow with the digest `workflow`.

    Raises UnavailableError if there is none, or none with an entry unless it `may_be_empty`, and
    InvalidInputError for one that is broken, of another format or of another workflow.
    """
    if path.is_dir():
        raise InvalidInputError(
            f"the baseline {path} is a folder", remedy="Name a file that ends in .baseline.json."
        )
    remedy = _RECORD_AGAIN if path.exists() else _RECORD
    _require_format(path, read_object(path, "baseline", remedy=remedy).get("schema"))
    baseline = read_model(path, Baseline, "baseline", remedy=_RECORD_AGAIN)
    if baseline.workflow != workflow:
        raise InvalidInputError(
            f"the baseline {path} is of another workflow, or the workflow was changed since",
            remedy="Name the baseline of this workflow. If the change was intended, delete the "
            "baseline, and record it again.",
        )
    if not baseline.entries and not may_be_empty:
        raise UnavailableError(f"the baseline {path} has no entry", remedy=_RECORD_AGAIN)
    return baseline


def _require_format(path: Path, schema: object) -> None:
    found = _SCHEMA.fullmatch(schema) if isinstance(schema, str) else None
    if found is None:
        raise InvalidInputError(
            f"{path} is not a baseline: its \"schema\" is not 'runpod-comfy/baseline/{FORMAT}'",
            remedy="Name a file that `runpod-comfy repro --mode record` wrote.",
        )
    number = int(found[1])
    if number > FORMAT:
        raise InvalidInputError(
            f"the baseline {path} has format {number}, which is newer than {FORMAT}",
            remedy="Use the version of runpod-comfy that wrote it, or a later one.",
        )
    if number < FORMAT:
        raise InvalidInputError(
            f"the baseline {path} has the old format {number}, without the content of outputs",
            remedy=_RECORD_AGAIN,
        )


def compare_with_baseline(
    path: Path, baseline: Baseline, run: Run, *, tolerance: Tolerance | None = None
) -> Comparison:
    """Compares a run with the entry of its device in the baseline at `path`.

    With a tolerance, the entry of another device is used where there is none for this one; the
    comparison's notes say so. Raises UnavailableError if no entry can be used, and OSError.
    """
    before = recorded_run(path, baseline, run, tolerance=tolerance)
    other, here = before.circumstances.device, run.circumstances.device
    notes = []
    if other.key != here.key:
        notes.append(
            f"The baseline has no entry for {here.in_words()}; that of {other.in_words()} was used."
        )
    notes += [f"{one.title}: {one.unreadable}." for one in before.outputs if one.unreadable]
    return replace(compare(before, run, tolerance=tolerance), notes=tuple(notes))


def _no_entry_for(path: Path, baseline: Baseline, device: Device) -> UnavailableError:
    known = [entry.circumstances.device.in_words() for entry in baseline.entries]
    return UnavailableError(
        f"the baseline {path} has no entry for this device, {device.in_words()}; it has "
        f"{listed(known)}",
        remedy="Record one here: run `repro` with the same workflow and --mode record. Or "
        "compare with that of another device: --tolerance max=2",
    )


def _entry_of_another_device(
    path: Path, baseline: Baseline, run: Run, tolerance: Tolerance | None
) -> Entry:
    here = run.circumstances.device
    if tolerance is None:
        raise _no_entry_for(path, baseline, here)
    # `min` keeps the first of several that are equally close.
    return min(
        baseline.entries,
        key=lambda entry: (
            entry.circumstances.device.type != here.type,
            entry.circumstances.device.platform != here.platform,
        ),
    )


def require_entry(path: Path, baseline: Baseline, device: Device | None) -> None:
    """Raises UnavailableError if the baseline at `path` has no entry of a device that is known."""
    if device is not None and baseline.entry_for(device) is None:
        raise _no_entry_for(path, baseline, device)


def recorded_run(
    path: Path, baseline: Baseline, run: Run, *, tolerance: Tolerance | None = None
) -> Run:
    """What a run is compared with: the entry of its device in the baseline at `path`.

    With a tolerance, that of another device where there is none for this one. Raises
    UnavailableError if no entry can be used, and OSError.
    """
    entry = baseline.entry_for(run.circumstances.device)
    if entry is None:
        entry = _entry_of_another_device(path, baseline, run, tolerance)
    folder = files_folder(path)
    return Run(
        title=f"the baseline {path}",
        circumstances=entry.circumstances,
        outputs=[_recorded_output(one, folder) for one in entry.outputs],
    )


def _recorded_output(recorded: RecordedOutput, folder: Path) -> Output:
    file = folder / recorded.file
    unreadable = ""
    try:
        if sha256_of(file) != recorded.sha256:
            unreadable = f"{file} is not the file that was recorded"
    except (FileNotFoundError, NotADirectoryError):
        unreadable = f"the recorded file {file} is not there"
    except OSError as error:
        unreadable = f"the recorded file cannot be read: {os_reason(error)}"
    return Output(
        **recorded.model_dump(exclude={"content", "file"}),
        open=None if unreadable else lambda: file.open("rb"),
        unreadable=unreadable,
        recorded=recorded.content,
    )


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A baseline that was written. `replaced` is true if this device had an entry before; `notes`
    are sentences about outputs that could not be decoded.
    """

    path: Path
    entry: Entry
    devices: list[str]
    replaced: bool
    notes: list[str]

    def document(self) -> dict[str, Any]:
        return {
            "baseline": str(self.path),
            "entry": self.entry.model_dump(mode="json", exclude_none=True),
            "devices": self.devices,
            "replaced": self.replaced,
            "notes": self.notes,
        }


def record(path: Path, run: Run, *, workflow: str, say: Say = say_nothing) -> Recording:
    """Writes the run into the baseline at `path`, as the entry of its device.

    Entries of other devices stay; several processes may record at once. Raises what `load_baseline`
    raises for a file that is there, InvalidInputError for outputs that cannot be read here, and
    OperationFailedError.
    """
    folder = files_folder(path)
    unreadable = next((output for output in run.outputs if output.open is None), None)
    if unreadable is not None:
        raise InvalidInputError(
            f"{unreadable.title} cannot be recorded: {unreadable.unreadable}",
            remedy="Let the run write files: --output files.",
        )
    if not run.outputs:
        raise InvalidInputError(
            "the workflow has no outputs, so there is nothing to record",
            remedy="Add a node that saves something, such as SaveImage.",
        )
    if path.exists():
        # Before anything is made beside a file that is no baseline.
        load_baseline(path, workflow=workflow, may_be_empty=True)
    with disk_errors(f"the baseline {path} could not be written"), _alone(folder, say):
        baseline = (
            load_baseline(path, workflow=workflow, may_be_empty=True) if path.exists() else None
        )
        entry = Entry(
            circumstances=run.circumstances,
            outputs=[_keep(output, folder) for output in run.outputs],
        )
        old = baseline.entry_for(run.circumstances.device) if baseline else None
        entries = [one for one in (baseline.entries if baseline else []) if one is not old]
        entries.append(entry)
        entries.sort(key=lambda one: one.circumstances.device.key)
        _write(path, workflow, entries)
        _prune(folder, entries)
    notes = [
        f"{output.title}: {one.content.note}"
        for output, one in zip(run.outputs, entry.outputs, strict=True)
        if one.content.note
    ]
    return Recording(
        path=path,
        entry=entry,
        devices=[one.circumstances.device.in_words() for one in entries],
        replaced=old is not None,
        notes=notes,
    )


def files_folder(path: Path) -> Path:
    """The folder with the files of the baseline at `path`: `x.baseline/` for `x.baseline.json`, and
    `y.files/` for any other name `y`.
    """
    return path.with_suffix("") if is_baseline(path) else path.with_name(f"{path.name}.files")


@contextlib.contextmanager
def _alone(folder: Path, say: Say) -> Iterator[None]:
    """Makes the folder, and waits until no other process records there."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock(descriptor, waiting=f"Waiting for another process that records in {folder}", say=say)
        yield
    finally:
        os.close(descriptor)


def _keep(output: Output, folder: Path) -> RecordedOutput:
    """Copies the output's file into the folder."""
    content = output.content
    assert content is not None, "a file that can be read has content"
    assert output.open is not None, "it was checked before"
    target = folder / f"{output.sha256[:16]}{output.suffix}"
    partial = target.with_name(f".{target.name}.partial")
    with output.open() as source, partial.open("wb") as copy:
        shutil.copyfileobj(source, copy)
    if sha256_of(partial) != output.sha256:
        partial.unlink()
        raise OperationFailedError(
            f"the file of {output.title} was changed while it was recorded",
            remedy="Record it again.",
        )
    partial.chmod(0o644)
    partial.replace(target)
    return RecordedOutput(
        node=output.node,
        kind=output.kind,
        number=output.number,
        name=output.name,
        mime=output.mime,
        sha256=output.sha256,
        content=content,
        file=target.name,
    )


def _write(path: Path, workflow: str, entries: list[Entry]) -> None:
    baseline = Baseline(
        schema=f"runpod-comfy/baseline/{FORMAT}",  # type: ignore[arg-type]
        workflow=workflow,
        entries=entries,
    )
    document: Mapping[str, Any] = baseline.model_dump(
        mode="json", by_alias=True, exclude_defaults=True
    )
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    replace_file(path, text.encode("utf-8", "backslashreplace"))


def _prune(folder: Path, entries: list[Entry]) -> None:
    """Removes the files that no entry has any more, and those of a record that was killed."""
    kept = {output.file for entry in entries for output in entry.outputs}
    for file in folder.iterdir():
        name = file.name.removeprefix(".").removesuffix(".partial")
        if _FILE_NAME.fullmatch(name) and file.name not in kept:
            file.unlink(missing_ok=True)
