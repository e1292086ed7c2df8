"""What a realization would need and cannot have, told all at once and before any work.

Without a network that is everything that no cache holds; with a folder of wheels, the wheels that
are not there or are not the locked ones.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from comfy_errors import ComfyError, MismatchError, UnavailableError
from comfy_files.hashing import sha256_of
from comfy_files.parallel import in_parallel
from comfy_files.progress import say_nothing
from comfy_files.sizes import readable_size
from comfy_http.redaction import without_secrets
from comfy_models.transfer import local_path
from runpod_comfy.cache.archive_store import find_archive
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.layers.plan import ENVIRONMENT, Layer, requirements_text
from runpod_comfy.layers.uv import outside_variables, uv_program, uv_variables
from runpod_comfy.lock.fetch import fetch_tree
from runpod_comfy.lock.model import Distribution, DistributionFile, LockedModel
from runpod_comfy.realize.changes import Changes
from runpod_comfy.realize.environment.interpreter import find_interpreter
from runpod_comfy.realize.environment.kept import has_environment
from runpod_comfy.realize.environment.packages import fitting_files, stored_indexes
from runpod_comfy.realize.job import Realization
from runpod_comfy.sources.index.pip_settings import read_pip_settings

_PROBES_AT_ONCE = 4


@dataclass(kw_only=True)
class _Lack:
    """`missing` and `wrong`: a line for each thing that is not there, or is not the locked one."""

    missing: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def refuse_missing(job: Realization, changes: Changes) -> None:
    """Raises one error that names everything that the changes need and that cannot be had.

    UnavailableError, or MismatchError if a wheel has other bytes than the lock says.
    """
    if not job.offline and job.wheels_dir is None:
        return
    lack = _Lack()
    if job.offline:
        lack.missing += _missing_trees(changes.pending, job.fetch_context)
    _look_for_packages(job, changes, lack)
    if job.offline:
        lack.missing += _missing_models(changes.models, job.base_dir)
    if lack.wrong or lack.missing:
        raise _error(lack, offline=job.offline, wheels_dir=job.wheels_dir)


def _error(lack: _Lack, *, offline: bool, wheels_dir: Path | None) -> ComfyError:
    lines = "".join(f"\n  {line}" for line in (*lack.wrong, *lack.missing))
    ways = []
    if offline:
        ways.append("run the command once with a network")
        ways.append("bring a bundle of the version: runpod-comfy bundle load FILE")
    if wheels_dir is None:
        ways.append("name a folder of wheels with --wheels-dir")
    else:
        ways.append(f"put the locked wheels into {wheels_dir}, or leave --wheels-dir out")
    remedy = "; or ".join(ways)
    remedy = remedy[0].upper() + remedy[1:] + "."
    count = len(lack.wrong) + len(lack.missing)
    things = "one thing is" if count == 1 else f"{count} things are"
    if lack.wrong:
        return MismatchError(f"{things} missing or wrong:{lines}", remedy=remedy)
    why = ", and the network may not be asked" if offline else ""
    return UnavailableError(f"{things} missing here{why}:{lines}", remedy=remedy)


def _missing_trees(layers: Sequence[Layer], fetch_context: FetchContext) -> list[str]:
    # What there is to say of a tree is said when it is fetched in earnest.
    quiet = replace(fetch_context, say=say_nothing)
    missing = []
    for layer in layers:
        for tree in layer.trees:
            try:
                fetch_tree(layer.name, tree, quiet)
            except UnavailableError:
                missing.append(f"tree {layer.name}: {without_secrets(tree.repo)} at {tree.commit}")
    return missing


def _missing_models(models: Sequence[LockedModel], base_dir: Path) -> list[str]:
    missing = []
    for model in models:
        path = local_path(model.source, base_dir)
        if path is None or not path.is_file():
            source = without_secrets(model.source)
            missing.append(f"model {model.name} ({readable_size(model.size)}), from {source}")
    return missing


def _look_for_packages(job: Realization, changes: Changes, lack: _Lack) -> None:
    layers = [layer for layer in changes.pending if layer.kind in ENVIRONMENT]
    if not layers or has_environment(layers, job.cache):
        return
    python, cache = job.lock.python, job.cache
    distributions = [*python.torch, *python.wheels]
    if job.wheels_dir is not None:
        distributions = _settled_by_folder(distributions, python.version, job.wheels_dir, lack)
    try:
        interpreter = find_interpreter(python.version)
    except UnavailableError as error:
        if not lack.missing and not lack.wrong and not job.offline:
            raise
        lack.missing.append(f"interpreter: {error.message}; {error.remedy}")
        if job.wheels_dir is None:
            lack.missing += [
                _package(each.distribution, each.file)
                for each in changes.packages
                if not each.cached
            ]
        return
    fitting = fitting_files(distributions, python=python.version)
    files_of = {
        distribution.name: files
        for distribution, files in fitting
        # A wheel in the archive store can be installed whatever else there is.
        if not any(_is_stored_wheel(file, cache) for file in files)
    }
    probe = _Probe(
        interpreter=interpreter,
        cache=cache,
        variables={
            "UV_CACHE_DIR": str(cache.uv),
            **uv_variables(
                read_pip_settings(),
                os.environ,
                wheels_dir=job.wheels_dir,
                first_index=python.torch_index,
                stored=stored_indexes(
                    distributions, python=python.version, cache=cache, offline=True
                ),
            ),
        },
        offline=job.offline,
    )
    unsure = [distribution for distribution, _ in fitting if distribution.name in files_of]
    to_build = [each for each in unsure if _is_source(files_of[each.name])]
    reasons = probe.lacks([each for each in unsure if each not in to_build])
    # Only building tells whether a source can be built.
    reasons += [(each, reason) for each in to_build if (reason := probe.ask([each], dry=False))]
    for distribution, reason in reasons:
        lack.missing.append(_why(distribution, files_of[distribution.name], reason))


def _is_source(files: Sequence[DistributionFile]) -> bool:
    return bool(files) and not files[0].name.endswith(".whl")


def _is_stored_wheel(file: DistributionFile, cache: Cache) -> bool:
    return file.name.endswith(".whl") and find_archive(file.sha256, cache) is not None


def _settled_by_folder(
    distributions: Sequence[Distribution], python: str, folder: Path, lack: _Lack
) -> list[Distribution]:
    """Notes what the folder lacks of wheels, and gives the distributions that exist only as source
    and lie there: whether they can be built is for the installer to say."""
    there = {path.name for path in folder.iterdir()}
    sources = []
    for distribution, files in fitting_files(distributions, python=python):
        title = f"{distribution.name} {distribution.version}"
        wheels = [file for file in files if file.name.endswith(".whl")]
        archives = [file for file in files if file not in wheels]
        lying = [file for file in (wheels or archives) if file.name in there]
        wrong = [file.name for file in lying if sha256_of(folder / file.name) != file.sha256]
        if len(lying) > len(wrong):
            if not wheels:
                sources.append(distribution)
            continue
        if wrong:
            lack.wrong += [
                f"package {title}: {folder / name} does not have the sha256 of the lock"
                for name in wrong
            ]
            continue
        source = next((file.name for file in archives if file.name in there), None)
        if source is not None:
            lack.missing.append(
                f"package {title}: only its source {source} lies there, which would have to be "
                f"built; the lock has {wheels[0].name}"
            )
        elif files:
            lack.missing.append(_package(title, files[0]))
        else:
            lack.missing.append(f"package {title}: the lock has no file of it for this machine")
    return sources


def _package(title: str, file: DistributionFile) -> str:
    size = "" if file.size is None else f", {readable_size(file.size)}"
    return f"package {title} ({file.name}{size})"


def _why(distribution: Distribution, files: Sequence[DistributionFile], reason: str) -> str:
    title = f"{distribution.name} {distribution.version}"
    if not files:
        return f"package {title}: the lock has no file of it for this machine"
    if files[0].name.endswith(".whl"):
        return _package(title, files[0])
    return f"{_package(title, files[0])}, a source that has to be built: {reason}"


@dataclass(frozen=True, kw_only=True)
class _Probe:
    """Asks uv what it would do: only uv knows for sure what it can take out of its cache."""

    interpreter: Path
    cache: Cache
    variables: dict[str, str]
    offline: bool

    def lacks(self, distributions: Sequence[Distribution]) -> list[tuple[Distribution, str]]:
        """Those that uv cannot install as things are, each with uv's reason."""
        if not distributions or self.ask(distributions) is None:
            return []
        reasons = in_parallel(self._lack_of, distributions, threads=_PROBES_AT_ONCE)
        return [
            (distribution, reason)
            for distribution, reason in zip(distributions, reasons, strict=True)
            if reason is not None
        ]

    def _lack_of(self, distribution: Distribution) -> str | None:
        if self.ask([distribution]) is None:
            return None
        # Dry, uv does not tell a file of this disk from one that it would have to download.
        return self.ask([distribution], dry=False)

    def ask(self, distributions: Sequence[Distribution], *, dry: bool = True) -> str | None:
        """Why uv cannot install these; None if it can."""
        self.cache.tmp.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.cache.tmp, prefix="probe-") as folder:
            requirements = Path(folder) / "requirements.txt"
            requirements.write_text(requirements_text(distributions), encoding="utf-8")
            done = subprocess.run(
                [
                    *(str(uv_program()), "pip", "install", "--no-deps", "--require-hashes"),
                    *("--python", str(self.interpreter), "--no-compile-bytecode"),
                    *("--target", str(Path(folder) / "target")),
                    *("--requirements", str(requirements)),
                    *(["--dry-run"] if dry else []),
                    *(["--no-index"] if self.variables.get("NO_INDEX") else []),
                ],
                env={
                    **outside_variables(),
                    **self.variables,
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
        return _reason(lines)


def _reason(lines: Sequence[str]) -> str:
    """uv's error and its causes in one line."""
    told = [line.partition(": ")[2] for line in lines if line.startswith(("error: ", "cause: "))]
    return "; ".join(told) or "uv failed"
