"""`realize --verify`: every byte of a home, and of what it came from in the caches, once more.

`realize` itself does not look at bytes that were right when they arrived; this does, and changes
nothing. `realize --repair` takes away what was found to be wrong, so that `realize` makes it anew.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import UnavailableError
from comfy_files.disk import PERMISSIONS, disk_errors
from comfy_home.manifest import Manifest, save_manifest
from runpod_comfy.cache.archive_store import find_archive
from runpod_comfy.cache.use import alone, using
from runpod_comfy.layers.plan import ENVIRONMENT, Plan
from runpod_comfy.layers.uv import outside_variables, uv_program
from runpod_comfy.realize.environment import environment_entry
from runpod_comfy.realize.home import BEGUN, held, manifest_for
from runpod_comfy.realize.install_scripts import InstallRecord, read_install_record
from runpod_comfy.realize.job import Realization
from runpod_comfy.realize.listing import hash_of, hashes_of
from runpod_comfy.realize.run import plan_here
from runpod_comfy.realize.verify.differences import Fault, Findings
from runpod_comfy.realize.verify.environment import EnvironmentCheck
from runpod_comfy.realize.verify.models import check_models
from runpod_comfy.realize.verify.trees import STRANGERS, TreeCheck


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was compared and what differs. `layers`, `entries` and `distributions` are what
    `repair` takes away: keys in the marker, paths in the cache, packages in uv's cache. `strays`
    are files in the home that go as well."""

    faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    checked_files: int
    checked_bytes: int
    seconds: float
    layers: frozenset[str]
    entries: frozenset[Path]
    distributions: frozenset[str]
    strays: frozenset[Path]

    @property
    def strangers(self) -> tuple[Path, ...]:
        """Nodes that the lock has not. They stay, because somebody put them there."""
        return tuple(fault.path for fault in self.faults if fault.part == STRANGERS)

    def document(self) -> dict[str, object]:
        """The same, as JSON takes it."""
        return {
            "verified": not self.faults,
            "differences": [fault.document() for fault in self.faults],
            "notes": list(self.notes),
            "files": self.checked_files,
            "bytes": self.checked_bytes,
            "seconds": round(self.seconds, 3),
        }


def verify(job: Realization) -> Verification:
    """Compares the home with the lock, byte by byte. Changes nothing.

    Raises UnavailableError where nothing was realized, InvalidInputError for a home that is
    someone else's.
    """
    started = time.monotonic()
    plan = plan_here(job.lock)
    manifest = manifest_for(job.home, job.lock.version_id)
    if manifest is None:
        raise UnavailableError(
            f"nothing is realized at {job.home.root}",
            remedy=f"Make it with: runpod-comfy realize {job.lock.version_id}",
        )
    findings = Findings()
    with using(job.cache, job.say), held(job.home, job.say):
        _check_marker(job, plan, manifest, findings)
        records = _install_records(job)
        _check_environment(job, plan, findings, records)
        _check_trees(job, plan, findings, records)
        _check_archives(job, findings)
        job.say(f"Verifying {len(job.lock.models)} models")
        check_models(job.lock.models, job.places, findings)
    return Verification(
        faults=tuple(findings.faults),
        notes=tuple(findings.notes),
        checked_files=findings.checked_files,
        checked_bytes=findings.checked_bytes,
        seconds=time.monotonic() - started,
        layers=frozenset(findings.layers),
        entries=frozenset(findings.entries),
        distributions=frozenset(findings.distributions),
        strays=frozenset(findings.strays),
    )


def take_away(found: Verification, job: Realization) -> None:
    """Removes what differs from the caches, from the marker what has to be made again, and files
    that Python might import and nobody needs. Nodes that the lock has not stay.

    Raises OperationFailedError if something cannot be removed.
    """
    with (
        disk_errors("what differs could not be removed", remedy=PERMISSIONS),
        alone(job.cache, job.say),
        held(job.home, job.say),
    ):
        manifest = manifest_for(job.home, job.lock.version_id)
        if manifest is not None:
            redo = set(found.layers)
            layers = {name: BEGUN if name in redo else key for name, key in manifest.layers.items()}
            changed = manifest.model_copy(update={"complete": False, "layers": layers})
            save_manifest(job.home.root, changed)
        if found.distributions:
            # The environment's files are those of uv's cache.
            subprocess.run(
                [str(uv_program()), "cache", "clean", "--quiet", *sorted(found.distributions)],
                env={**outside_variables(), "UV_CACHE_DIR": str(job.cache.uv)},
                check=False,
                capture_output=True,
            )
        for entry in found.entries:
            _remove_entry(entry, job)
        for stray in found.strays:
            stray.unlink(missing_ok=True)


def _remove_entry(entry: Path, job: Realization) -> None:
    if not entry.is_dir():
        entry.unlink(missing_ok=True)
        return
    job.cache.tmp.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=job.cache.tmp, prefix="damaged-") as folder:
        entry.rename(Path(folder) / "entry")
        shutil.rmtree(Path(folder) / "entry")
    if entry.parent == job.cache.trees:
        entry.with_name(f"{entry.name}.json").unlink(missing_ok=True)


def _check_marker(job: Realization, plan: Plan, manifest: Manifest, findings: Findings) -> None:
    if manifest.lock_digest != job.lock.digest:
        findings.add(
            "home",
            job.home.marker,
            expected=job.lock.digest,
            found=manifest.lock_digest or "no lock",
        )
    if not manifest.complete:
        findings.add("home", job.home.marker, expected="a whole version", found="an unfinished one")
    for layer in plan.layers:
        if layer.kind != "check" and manifest.layers.get(layer.name) != layer.key:
            findings.layers.add(layer.name)
            findings.add(
                layer.name,
                job.home.marker,
                expected=layer.key,
                found=manifest.layers.get(layer.name) or "not made",
            )


def _install_records(job: Realization) -> list[InstallRecord]:
    found = [read_install_record(job.home, node) for node in job.lock.run_install_scripts]
    return [record for record in found if record is not None]


def _check_environment(
    job: Realization, plan: Plan, findings: Findings, records: list[InstallRecord]
) -> None:
    job.say(f"Verifying the Python environment {job.home.venv}")
    check = EnvironmentCheck(lock=job.lock, findings=findings)
    check.check(job.home.venv, part="environment", cache_entry=None, records=records)
    entry = environment_entry([each for each in plan.layers if each.kind in ENVIRONMENT], job.cache)
    if entry.is_dir():
        check.check(entry, part="environment in the cache", cache_entry=entry, records=[])


def _check_trees(
    job: Realization, plan: Plan, findings: Findings, records: list[InstallRecord]
) -> None:
    check = TreeCheck(
        home=job.home,
        cache=job.cache,
        python_version=job.lock.python.version,
        findings=findings,
        changed=_check_changed(job, findings, records),
    )
    for layer in plan.layers:
        if layer.kind in ("core", "node"):
            job.say(f"Verifying {layer.name}")
            check.check(layer)
    if job.home.custom_nodes.is_dir():
        check.check_known_nodes([node.name for node in job.lock.custom_nodes])
    job.say("Verifying bytecode")
    check.check_bytecode()


def _check_archives(job: Realization, findings: Findings) -> None:
    """Wheels and archives that the cache keeps as files: their names are their hashes."""
    lock = job.lock
    hashes = {
        file.sha256 for each in (*lock.python.torch, *lock.python.wheels) for file in each.files
    }
    pins = {tree.commit for tree in (lock.comfy, *lock.custom_nodes)}
    hashes |= {pin.removeprefix("sha256:") for pin in pins if pin.startswith("sha256:")}
    paths = [path for sha256 in sorted(hashes) if (path := find_archive(sha256, job.cache))]
    names = [path.name for path in paths]
    for path, found in zip(paths, hashes_of(job.cache.archives, names), strict=True):
        findings.count(path)
        if found != path.name:
            findings.add("archive in the cache", path, expected=path.name, found=found)
            findings.entries.add(path)


def _check_changed(job: Realization, findings: Findings, records: list[InstallRecord]) -> set[Path]:
    """The files that install scripts changed, compared with what they left there."""
    left: dict[Path, tuple[str, str | None]] = {}
    for record in records:
        for root, files in (
            (job.home.custom_nodes / record.node, record.files.node),
            (job.home.root, record.files.home),
        ):
            for file in files:
                left[root / file.path] = (record.node, file.sha256)
    for path, (node, sha256) in left.items():
        found = hash_of(path)
        if sha256 is not None and found != sha256:
            findings.add(f"install:{node}", path, expected=sha256, found=found)
            findings.layers.add(f"install:{node}")
    return set(left)
