"""What install scripts of nodes changed in a home, as `images/layers/run_install.py` wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comfy_errors import InvalidInputError
from runpod_comfy.realize.home import Home

_UNFINISHED = "unfinished"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


class ChangedFile(_Strict):
    """`sha256` is 64 hex digits of what a file holds now, None for a link or what is gone."""

    path: str
    change: Literal["added", "changed", "removed"]
    sha256: str | None


class ChangedDistribution(_Strict):
    """A Python distribution with its versions; None where it was not there, or is not any more."""

    name: str
    before: str | None
    after: str | None


class ChangedFiles(_Strict):
    """Paths are from the node's folder, the home and the environment.

    Files that came or went with a distribution are not listed, nor is bytecode.
    """

    node: list[ChangedFile]
    home: list[ChangedFile]
    environment: list[ChangedFile]


class InstallRecord(_Strict):
    """One run of one node's install.py.

    `network` is `open`, `none`, or `refused by variables` where it could not be taken away.
    `exit_code` is a number or `timeout`. `torch_touched` has a phrase for each thing of the group
    `torch` that is not what it was. `discarded` are files that install.py wrote into its home
    folder, which are gone.
    """

    record_schema: Literal["runpod-comfy/install-record/1"] = Field(alias="schema")
    node: str
    network: str
    exit_code: int | str
    distributions: list[ChangedDistribution]
    torch_touched: list[str]
    files: ChangedFiles
    discarded: list[str]

    def document(self) -> dict[str, object]:
        return self.model_dump(mode="json", by_alias=True)

    def in_words(self) -> str:
        """One sentence for people."""
        told = [_moved(each) for each in self.distributions]
        counts = (
            (len(self.files.node), "in its folder"),
            (len(self.files.home), "elsewhere in the home"),
            (len(self.files.environment), "in the environment"),
        )
        told += [f"{number} file{'s' * (number > 1)} {where}" for number, where in counts if number]
        return f"install.py of {self.node} changed " + (", ".join(told) or "nothing")


def _moved(each: ChangedDistribution) -> str:
    if each.before is None:
        return f"{each.name} (new: {each.after})"
    return f"{each.name} ({each.before} → {each.after or 'gone'})"


def read_install_record(home: Home, node: str) -> InstallRecord | None:
    """The record of a node's install.py, None if it never ran to its end.

    Raises InvalidInputError if the record cannot be read.
    """
    path = home.install_records / f"{node}.json"
    try:
        return InstallRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise InvalidInputError(
            f"{path} is not a record of install.py that this program can read: {error}",
            remedy="Remove the version and realize it again.",
        ) from error


def added_files(home: Home) -> set[Path]:
    """The files that install scripts added to `ComfyUI/`, as far as the records know."""
    records = [
        read_install_record(home, path.stem) for path in sorted(home.install_records.glob("*.json"))
    ]
    nodes = Path("ComfyUI/custom_nodes")
    return {
        home.root / path
        for record in records
        if record
        for path, change in (
            *((Path(file.path), file.change) for file in record.files.home),
            *((nodes / record.node / file.path, file.change) for file in record.files.node),
        )
        if change == "added" and path.parts[0] == "ComfyUI"
    }


def files_before(home: Home) -> set[Path] | None:
    """What the home held before an install script that did not end; None if there is none."""
    try:
        before = json.loads((home.install_records / _UNFINISHED).read_bytes())
    except FileNotFoundError:
        return None
    return {home.root / path for path in before}
