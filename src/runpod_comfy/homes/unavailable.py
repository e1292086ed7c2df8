"""Reports everything that a realization needs but cannot get, at once and before any work.

Offline that is everything that is not cached; with a folder of wheels, the wheels that are missing
or differ from the lock.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from comfy_errors import ComfyError, MismatchError, UnavailableError
from comfy_errors.names import capitalized, in_lines, quantity
from comfy_files.files import sha256_of
from comfy_files.parallel import in_parallel
from comfy_files.progress import readable_size, say_nothing, when_slow
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.archive_store import find_archive
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.homes.changes import Changes
from runpod_comfy.homes.environment import (
    Package,
    find_interpreter,
    find_stand_ins,
    has_environment,
    stored_indexes,
)
from runpod_comfy.homes.home import Realization
from runpod_comfy.homes.models import refuse_missing_sources, without_source
from runpod_comfy.layers.plan import ENVIRONMENT, Layer, requirements_text
from runpod_comfy.lock.fetch import fetch_tree
from runpod_comfy.lock.python.building import build_remedy, build_table
from runpod_comfy.sources.index.pip_settings import (
    outside_variables,
    read_pip_settings,
    uv_program,
    uv_variables,
)

_PROBES_AT_ONCE = 4


@dataclass(kw_only=True)
class _Lack:
    """`missing` and `wrong`: one line for each item that is missing, or differs from the lock."""

    missing: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def refuse_missing(job: Realization, changes: Changes) -> None:
    """Raises one error that names everything that the changes need but is unavailable.

    UnavailableError, or MismatchError if a wheel has other bytes than the lock says.
    """
    if not job.offline:
        refuse_missing_sources(changes.models, job.base_dir)
    if not job.offline and job.wheels_dir is None:
        return
    lack = _Lack()
    if job.offline:
        lack.missing += _missing_trees(changes.pending, job.fetch_context)
    _look_for_packages(job, changes, lack)
    if job.offline:
        lack.missing += [
            f"model {model.name} ({readable_size(model.size)}), from "
            f"{without_secrets(model.sources[0].url)}"
            for model in without_source(changes.models, job.base_dir, offline=True)
        ]
    if lack.wrong or lack.missing:
        raise _error(lack, offline=job.offline, wheels_dir=job.wheels_dir)


def _error(lack: _Lack, *, offline: bool, wheels_dir: Path | None) -> ComfyError:
    lines = in_lines([*lack.wrong, *lack.missing], at_most=200)
    ways = []
    if offline:
        ways.append("run the command once with network access")
        ways.append("load a bundle of the version: runpod-comfy bundle load FILE")
    if wheels_dir is None:
        ways.append("name a folder of wheels with --wheels-dir")
    else:
        ways.append(f"put the locked wheels into {wheels_dir}, or leave out --wheels-dir")
    remedy = f"{capitalized('; or '.join(ways))}."
    items = quantity(len(lack.wrong) + len(lack.missing), "item is", "items are")
    if lack.wrong:
        return MismatchError(f"{items} missing or wrong:{lines}", remedy=remedy)
    why = ", and network access is off (--offline)" if offline else ""
    return UnavailableError(f"{items} missing here{why}:{lines}", remedy=remedy)


def _missing_trees(layers: Sequence[Layer], fetch_context: FetchContext) -> list[str]:
    # Messages about a tree are shown when it is really fetched.
    quiet = replace(fetch_context, say=say_nothing)
    missing = []
    for name, tree in ((layer.name, layer.tree) for layer in layers if layer.tree):
        try:
            fetch_tree(name, tree, quiet)
        except UnavailableError:
            missing.append(f"tree {name}: {without_secrets(tree.repo)} at {tree.commit}")
    return missing


def _look_for_packages(job: Realization, changes: Changes, lack: _Lack) -> None:
    layers = [layer for layer in changes.pending if layer.kind in ENVIRONMENT]
    python = job.lock.python
    packages: Sequence[Package] = changes.packages
    if job.wheels_dir is not None:
        # Also where the caches have them: only these wheels are to be installed.
        with when_slow(job.say, f"Comparing the wheels in {job.wheels_dir} with the lock"):
            given = find_stand_ins(packages, job.wheels_dir, python=python.version)
            settled = [each.distribution for each in given]
            rest = [each for each in packages if each.distribution not in settled]
            packages = _settled_by_folder(rest, job.wheels_dir, lack)
    if not layers or has_environment(layers, job.cache):
        return
    try:
        interpreter = find_interpreter(python.version)
    except UnavailableError as error:
        if not lack.missing and not lack.wrong and not job.offline:
            raise
        lack.missing.append(f"interpreter: {error.message}; {error.remedy}")
        if job.wheels_dir is None:
            lack.missing += [_missing(each) for each in packages if not each.cached]
        return
    probe = _Probe(
        interpreter=interpreter,
        cache=job.cache,
        variables={
            "UV_CACHE_DIR": str(job.cache.uv),
            **uv_variables(
                read_pip_settings(),
                os.environ,
                wheels_dir=job.wheels_dir,
                first_index=python.torch_index,
                stored=stored_indexes(packages, job.cache, offline=True),
            ),
        },
        build_requirements=python.build_requirements,
        offline=job.offline,
    )
    # A wheel in the archive store can always be installed.
    unsure = [each for each in packages if not _has_stored_wheel(each, job.cache)]
    packages_are = quantity(len(unsure), "Python package is", "Python packages are")
    with when_slow(job.say, f"Checking whether {packages_are} available"):
        lacks = probe.lacks(unsure)
    # Only building shows whether an sdist can be built.
    lack.missing += [
        _missing(each) + (f", an sdist that has to be built: {reason}" if _is_source(each) else "")
        for each, reason in lacks
    ]


def _is_source(package: Package) -> bool:
    return bool(package.files) and not package.files[0].name.endswith(".whl")


def _has_stored_wheel(package: Package, cache: Cache) -> bool:
    return any(
        file.name.endswith(".whl") and find_archive(file.sha256, cache) for file in package.files
    )


def _settled_by_folder(packages: Sequence[Package], folder: Path, lack: _Lack) -> list[Package]:
    """Records the wheels that the folder lacks, and returns the packages that are there only as
    sdists: the installer will tell whether they can be built.
    """
    there = {path.name for path in folder.iterdir()}
    sources = []
    for package in packages:
        wheels = [file for file in package.files if file.name.endswith(".whl")]
        archives = [file for file in package.files if file not in wheels]
        lying = [file for file in (wheels or archives) if file.name in there]
        wrong = [file.name for file in lying if sha256_of(folder / file.name) != file.sha256]
        source = next((file.name for file in archives if file.name in there), None)
        if len(lying) > len(wrong):
            if not wheels:
                sources.append(package)
        elif wrong:
            lack.wrong += [
                f"package {package.title}: {folder / name} does not have the sha256 in the lock"
                for name in wrong
            ]
        elif source is not None:
            lack.missing.append(
                f"package {package.title}: the folder only has the sdist {source}, which would "
                f"have to be built; the lock has {wheels[0].name}"
            )
        else:
            lack.missing.append(_missing(package))
    return sources


def _missing(package: Package) -> str:
    if not package.files:
        return f"package {package.title}: the lock has no file of it for this machine"
    best = package.files[0]
    size = "" if best.size is None else f", {readable_size(best.size)}"
    return f"package {package.title} ({best.name}{size})"


@dataclass(frozen=True, kw_only=True)
class _Probe:
    """Asks uv for a dry run: only uv knows for certain what it can use from its cache."""

    interpreter: Path
    cache: Cache
    variables: dict[str, str]
    build_requirements: dict[str, list[str]]
    offline: bool

    def lacks(self, packages: Sequence[Package]) -> list[tuple[Package, str]]:
        """The packages that uv cannot install now, each with uv's reason."""
        wheels = [each for each in packages if not _is_source(each)]
        if not wheels or self.ask(wheels) is None:
            packages = [each for each in packages if _is_source(each)]
        reasons = in_parallel(self._lack_of, packages, threads=_PROBES_AT_ONCE)
        return [
            (package, reason)
            for package, reason in zip(packages, reasons, strict=True)
            if reason is not None
        ]

    def _lack_of(self, package: Package) -> str | None:
        if not _is_source(package) and self.ask([package]) is None:
            return None
        # In a dry run uv does not distinguish a local file from one that it would have to download.
        return self.ask([package], dry=False)

    def ask(self, packages: Sequence[Package], *, dry: bool = True) -> str | None:
        """Why uv cannot install these; None if it can."""
        distributions = [each.distribution for each in packages]
        with self.cache.scratch("probe") as folder:
            requirements = folder / "requirements.txt"
            requirements.write_text(requirements_text(distributions), encoding="utf-8")
            settings = folder / "uv.toml"
            settings.write_text(build_table(self.build_requirements), encoding="utf-8")
            done = subprocess.run(
                [
                    *(str(uv_program()), "pip", "install", "--no-deps", "--require-hashes"),
                    *("--python", str(self.interpreter), "--no-compile-bytecode"),
                    *("--target", str(folder / "target")),
                    *("--requirements", str(requirements)),
                    *(["--dry-run"] if dry else []),
                    *(["--no-index"] if self.variables.get("NO_INDEX") else []),
                ],
                env={
                    **outside_variables(),
                    **self.variables,
                    **({"UV_CONFIG_FILE": str(settings)} if self.build_requirements else {}),
                    **({"UV_OFFLINE": "1"} if self.offline else {}),
                    "NO_COLOR": "1",
                },
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        downloads = any(line.startswith("Would download") for line in lines)
        if done.returncode == 0 and not (self.offline and downloads):
            return None
        return " ".join(filter(None, (_reason(lines), build_remedy(done.stderr))))


def _reason(lines: Sequence[str]) -> str:
    """uv's error and its causes in one line, without credentials in URLs."""
    told = [line.partition(": ")[2] for line in lines if line.startswith(("error: ", "cause: "))]
    return without_secrets("; ".join(told)) or "uv failed"
