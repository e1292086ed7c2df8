"""Wheels that somebody built, in place of sdists of the lock: only from `--wheels-dir`.

The lock has no hash of such a wheel. It is taken if it has the distribution's name and version and
fits this machine, and if the lock has no wheel of it for this machine, which is then the one that
counts. It is recorded in the environment that it is installed in.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from comfy_files.files import sha256_of
from runpod_comfy.homes.environment import Package
from runpod_comfy.layers.plan import requirements_text
from runpod_comfy.lock.model import Distribution, DistributionFile
from runpod_comfy.lock.python.fit import fitting_files

RECORD = "comfy-stand-ins.json"
"""The file of an environment that lists its wheels of this kind."""


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """The wheel `file` in a folder of wheels, for `distribution`."""

    distribution: Distribution
    file: DistributionFile

    @property
    def release(self) -> tuple[str, str]:
        """The name and the version of its distribution."""
        return self.distribution.name, self.distribution.version

    @property
    def sentence(self) -> str:
        """What is said about it."""
        return (
            f"The wheel {self.file.name} (sha256 {self.file.sha256}) is used for the sdist of "
            f"{' '.join(self.release)}, of which the lock has no wheel for this machine"
        )


def find_stand_ins(
    packages: Sequence[Package], folder: Path | None, *, python: str
) -> list[StandIn]:
    """The wheels in `folder` for packages that the lock has as sdists only, for this machine and
    Python `python` (`3.11`); the best one of each.
    """
    if folder is None:
        return []
    wheels = sorted(path for path in folder.iterdir() if path.name.endswith(".whl"))
    found = []
    for package in packages:
        distribution = package.distribution
        if not package.files or any(file.name.endswith(".whl") for file in package.files):
            continue
        named = [path for path in wheels if _is_of(path.name, distribution)]
        candidates = [DistributionFile(name=path.name, sha256="") for path in named]
        offer = distribution.model_copy(update={"files": candidates})
        for _, fitting in fitting_files([offer], python=python):
            for file in fitting[:1]:
                whole = file.model_copy(update={"sha256": sha256_of(folder / file.name)})
                found.append(StandIn(distribution=distribution, file=whole))
    return found


def requirements_with(distributions: Sequence[Distribution], stand_ins: Collection[StandIn]) -> str:
    """The requirements of `distributions`, with the hashes of these wheels for their sdists'."""
    given = {each.release: each.file for each in stand_ins}
    return requirements_text(
        [
            each.model_copy(update={"files": [given[each.name, each.version]]})
            if (each.name, each.version) in given
            else each
            for each in distributions
        ]
    )


def write_record(venv: Path, stand_ins: Sequence[StandIn]) -> None:
    """Records the wheels in an environment; writes nothing if there are none."""
    if stand_ins:
        entries = [
            {
                "name": each.distribution.name,
                "version": each.distribution.version,
                "file": each.file.name,
                "sha256": each.file.sha256,
            }
            for each in stand_ins
        ]
        text = json.dumps(entries, indent=2, sort_keys=True) + "\n"
        (venv / RECORD).write_text(text, encoding="utf-8")


def _is_of(wheel: str, distribution: Distribution) -> bool:
    try:
        name, version, _, _ = parse_wheel_filename(wheel)
    except InvalidWheelFilename:
        return False
    return name == canonicalize_name(distribution.name) and version == Version(distribution.version)
