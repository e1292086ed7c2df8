"""`realize --verify`: checks every byte of a home, and of its sources in the caches.

`realize` itself does not check bytes again that were right when they arrived; this does, and
changes nothing. `realize --repair` removes what is wrong, so that `realize` makes it again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from packaging.utils import canonicalize_name

from comfy_errors import InvalidInputError, MismatchError, UnavailableError
from comfy_errors.names import quantity
from comfy_files.files import PERMISSIONS, disk_errors
from comfy_files.json_file import read_json
from comfy_files.parallel import HASHING_THREADS, in_parallel
from comfy_files.user_paths import real
from comfy_home.in_use import home_alone, home_in_use
from comfy_home.layout import IMPORTABLE, home_arguments
from comfy_home.manifest import (
    ChangedFile,
    Manifest,
    in_environment,
    load_manifest,
    save_manifest,
)
from comfy_home.platforms import this_platform
from comfy_workflows.node_inputs import object_info_in
from runpod_comfy.cache.archive_store import find_archive
from runpod_comfy.homes.environment import clean_uv, environment_entry
from runpod_comfy.homes.home import (
    BEGUN,
    Realization,
    is_realized_from,
    manifest_for,
    recorded_lock,
    start_changes,
)
from runpod_comfy.homes.install_scripts import InstallRecord, read_install_record
from runpod_comfy.homes.models import links_to_make
from runpod_comfy.homes.run import plan_here
from runpod_comfy.homes.steps import OBJECT_INFO_IN_CACHE, check_entry
from runpod_comfy.homes.verify.listing import (
    LISTING,
    hash_of,
    read_listing,
    recorded_files,
    walk,
)
from runpod_comfy.homes.verify.trees import TreeCheck, Verification
from runpod_comfy.layers.inputs import manifest_of
from runpod_comfy.layers.plan import ENVIRONMENT, Plan, make_plan
from runpod_comfy.lock.model import Lock, LockedModel
from runpod_comfy.lock.python.fit import fitting_files


def verify(job: Realization) -> Verification:
    """Compares the home with the lock, byte by byte. Changes nothing.

    Raises UnavailableError if nothing was realized, InvalidInputError for a home that belongs to
    something else.
    """
    started = time.monotonic()
    plan = plan_here(job.lock)
    manifest = manifest_for(job)
    if manifest is None:
        named = home_arguments(job.lock.version_id, job.home.root, os.environ)
        raise UnavailableError(
            f"nothing is realized at {job.home.root}", remedy=f"Run: runpod-comfy realize {named}"
        )
    findings = Verification()
    with job.cache.using(job.say), home_in_use(job.home.root, job.say):
        found = [read_install_record(job.home, node) for node in job.lock.run_install_scripts]
        records = [record for record in found if record is not None]
        _check_marker(job, plan, manifest, findings)
        written = start_changes(job.home)
        _check_environments(job, plan, findings, records, written)
        _check_trees(job, plan, findings, records, written)
        _check_archives(job, findings)
        _check_models(job, findings)
        _check_node_classes(job, plan, findings)
    findings.seconds = time.monotonic() - started
    return findings


def restore_marker(job: Realization) -> bool:
    """Writes a lost or damaged marker again, with every layer as one to make again; returns whether
    it did. A folder that may be the user's own is left alone.

    Raises OperationFailedError if the marker cannot be written.
    """
    if not _is_marker_lost(job):
        return False
    with (
        disk_errors("the marker could not be written", remedy=PERMISSIONS),
        home_alone(job.home.root, job.say),
    ):
        lock = recorded_lock(job.home, job.cache)
        if lock is None or not _is_marker_lost(job):
            return False
        plan = make_plan(lock, platform=this_platform())
        layers = {layer.name: BEGUN for layer in plan.layers}
        save_manifest(job.home.root, manifest_of(lock, plan.platform, layers=layers))
    return True


def _is_marker_lost(job: Realization) -> bool:
    if not is_realized_from(recorded_lock(job.home, job.cache), job):
        return False
    try:
        return load_manifest(job.home.root) is None
    except InvalidInputError:
        return True


def take_away(found: Verification, job: Realization) -> None:
    """Removes faulty entries from the caches, layers to make again from the marker, and unneeded
    files that Python might import. Nodes that are not in the lock and the user's own model files
    are kept; if there is nothing else, the marker is not changed.

    Raises OperationFailedError if something cannot be removed.
    """
    if not found.repairable:
        return
    # Waits for engines here, not while every other command waits for the cache.
    with home_alone(job.home.root, job.say):
        pass
    with (
        disk_errors("faulty files could not be removed", remedy=PERMISSIONS),
        job.cache.alone(job.say),
        home_alone(job.home.root, job.say),
    ):
        manifest = manifest_for(job)
        if manifest is not None:
            layers = {
                name: BEGUN if name in found.layers else key
                for name, key in manifest.layers.items()
            }
            changed = manifest.model_copy(update={"complete": False, "layers": layers})
            save_manifest(job.home.root, changed)
        # The environment's files are those of uv's cache.
        clean_uv(found.distributions, job.cache)
        for entry in found.entries:
            _remove_entry(entry, job)
        for stray in found.strays:
            stray.unlink(missing_ok=True)


def _remove_entry(entry: Path, job: Realization) -> None:
    if not entry.is_dir():
        entry.unlink(missing_ok=True)
        return
    with job.cache.scratch("damaged") as folder:
        entry.rename(folder / "entry")
    if entry.parent == job.cache.trees:
        entry.with_name(f"{entry.name}.json").unlink(missing_ok=True)


def _check_marker(job: Realization, plan: Plan, manifest: Manifest, findings: Verification) -> None:
    marker = job.home.marker
    if not job.lock.is_named_by(manifest.lock_digest):
        found = manifest.lock_digest or "no lock"
        findings.add("home", marker, expected=job.lock.digest, found=found)
    if not manifest.complete:
        findings.add("home", marker, expected="a complete version", found="an incomplete one")
    for layer in plan.layers:
        if layer.kind != "check" and manifest.layers.get(layer.name) != layer.key:
            findings.layers.add(layer.name)
            found = manifest.layers.get(layer.name) or "not made"
            findings.add(layer.name, marker, expected=layer.key, found=found)


def _check_environments(
    job: Realization,
    plan: Plan,
    findings: Verification,
    records: list[InstallRecord],
    started: list[ChangedFile],
) -> None:
    job.say(f"Verifying the Python environment {job.home.venv}")
    part = "environment"
    changed = in_environment(started)
    if not _check_environment(
        job.home.venv, job.lock, findings, part=part, records=records, changed=changed
    ):
        findings.layers.update(ENVIRONMENT)
    entry = environment_entry([each for each in plan.layers if each.kind in ENVIRONMENT], job.cache)
    part = "environment in the cache"
    if entry.is_dir() and not _check_environment(entry, job.lock, findings, part=part):
        findings.entries.add(entry)


def _check_environment(
    venv: Path,
    lock: Lock,
    findings: Verification,
    *,
    part: str,
    records: Sequence[InstallRecord] = (),
    changed: Mapping[str, ChangedFile] = MappingProxyType({}),
) -> bool:
    """Compares the environment at `venv` with the listing from when it was made, and with the lock;
    `records` say what install scripts changed in it, `changed` what the engine's start did. Returns
    True if nothing differs.
    """
    before = len(findings.faults)
    recorded = recorded_files(venv)
    expected = {path: file.sha256 for path, file in recorded.items() if file.sha256}
    for file in (each for record in records for each in record.files.environment):
        if file.sha256 or file.change == "removed":
            expected[file.path] = file.sha256 or "nothing"
    expected.update({path: file.sha256 or "nothing" for path, file in changed.items()})
    if (listing := read_listing(venv)) is None:
        wanted, found = "a list of its files", "none, or a changed one"
        findings.add(part, venv / LISTING, expected=wanted, found=found)
    else:
        expected.update(listing)
        for path, found in findings.hashes_of(venv, sorted(expected)).items():
            if found != expected[path]:
                findings.add(part, venv / path, expected=expected[path], found=found)
                if path in recorded:
                    findings.distributions.update(recorded[path].names)
        for path in sorted(set(walk(venv)) - expected.keys() - {LISTING}):
            if path.endswith(IMPORTABLE):
                found = "a file that Python may import"
                findings.add(part, venv / path, expected="nothing", found=found)
            else:
                findings.notes.append(f"{venv / path} was added")
    locked = {**_locked_here(lock, records), **_installed_by(changed)}
    there = _installed(venv)
    for name in sorted({*locked, *there}):
        wanted, found = (
            f"{name} {versions[name]}" if versions.get(name) else f"no {name}"
            for versions in (locked, there)
        )
        if wanted != found:
            findings.add(part, venv, expected=wanted, found=found)
    return len(findings.faults) == before


def _locked_here(lock: Lock, records: Sequence[InstallRecord]) -> dict[str, str | None]:
    """The versions of the lock's distributions for this machine, as changed by install scripts."""
    here = fitting_files(lock.python.distributions, python=lock.python.version)
    expected: dict[str, str | None] = {
        canonicalize_name(each.name): each.version for each, _ in here
    }
    for change in (each for record in records for each in record.distributions):
        expected[canonicalize_name(change.name)] = change.after
    return expected


def _installed_by(changed: Mapping[str, ChangedFile]) -> dict[str, str | None]:
    """The distributions that the engine's start installed, with their versions, and that it
    removed, with None.
    """
    found: dict[str, str | None] = {}
    for path, file in sorted(changed.items(), key=lambda item: item[1].change != "removed"):
        if path.endswith(".dist-info/METADATA"):
            name, _, version = Path(path).parent.name.removesuffix(".dist-info").partition("-")
            found[canonicalize_name(name)] = None if file.change == "removed" else version
    return found


def _installed(venv: Path) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for folder in venv.glob("lib/python*/site-packages/*.dist-info"):
        name, _, version = folder.name.removesuffix(".dist-info").partition("-")
        found[canonicalize_name(name)] = version
    return found


def _check_trees(
    job: Realization,
    plan: Plan,
    findings: Verification,
    records: list[InstallRecord],
    started: list[ChangedFile],
) -> None:
    changed = _check_changed(job, findings, records) | _check_started(job, findings, started)
    check = TreeCheck(job=job, findings=findings, changed=changed)
    for layer in plan.layers:
        if layer.kind in ("core", "node"):
            job.say(f"Verifying {layer.name}")
            check.check(layer)
    check.check_unmanaged()
    job.say("Verifying bytecode")
    check.check_bytecode()


def _check_archives(job: Realization, findings: Verification) -> None:
    """Checks wheels and archives in the cache: their names are their hashes."""
    lock = job.lock
    hashes = {file.sha256 for each in lock.python.distributions for file in each.files}
    pins = {tree.commit for tree in (lock.comfy, *lock.custom_nodes)}
    hashes |= {pin.removeprefix("sha256:") for pin in pins if pin.startswith("sha256:")}
    names = [sha256 for sha256 in sorted(hashes) if find_archive(sha256, job.cache)]
    if names:
        job.say(f"Verifying {quantity(len(names), 'archive')} in the cache")
    for name, found in findings.hashes_of(job.cache.archives, names).items():
        if found != name:
            path = job.cache.archives / name
            findings.add("archive in the cache", path, expected=name, found=found)
            findings.entries.add(path)


def _check_models(job: Realization, findings: Verification) -> None:
    """Checks the models of the home and of their store; each file is read once."""
    job.say(f"Verifying {quantity(len(job.lock.models), 'model')}")
    home = job.home
    if not home.core_models.exists() or not home.core_models.samefile(home.models):
        found = hash_of(home.core_models)
        findings.add("models", home.core_models, expected="a link to ../models", found=found)
        findings.layers.add("models")
    store = job.model_folders.store
    wanted: dict[str, LockedModel] = {}
    for model in job.lock.models:
        place = job.home.models / model.target_path
        if not place.exists():
            findings.add(model.name, place, expected=model.sha256, found="nothing")
            if not _can_be_linked(model, job):
                findings.own_models.add(place)
        for path in (place, store.path_of(model.sha256)):
            if path.is_file():
                wanted[os.path.realpath(path)] = model
    hashed = in_parallel(hash_of, map(Path, wanted), threads=HASHING_THREADS)
    for name, found in zip(wanted, hashed, strict=True):
        path, model = Path(name), wanted[name]
        findings.count(path)
        if found != model.sha256:
            findings.add(model.name, path, expected=model.sha256, found=found)
            if path.is_relative_to(real(store.root)):
                findings.entries.add(path)
            elif not _can_be_linked(model, job):
                findings.own_models.add(path)


def _check_node_classes(job: Realization, plan: Plan, findings: Verification) -> None:
    """Reads the record of node classes that the check made, and its copy in the cache."""
    layer = next(layer for layer in plan.layers if layer.kind == "check")
    entry = check_entry(layer.key, job.cache)
    if _is_record_broken(layer.name, job.home.object_info, findings):
        findings.layers.add(layer.name)
    if entry.is_dir() and _is_record_broken(
        "check in the cache", entry / OBJECT_INFO_IN_CACHE, findings
    ):
        findings.entries.add(entry)


def _is_record_broken(part: str, path: Path, findings: Verification) -> bool:
    findings.count(path)
    what, remedy = "record of node classes", "Repair it."
    try:
        object_info_in(read_json(path, what, remedy=remedy), f"the {what} {path}", remedy=remedy)
    except (InvalidInputError, UnavailableError) as error:
        wanted = "a JSON object with one for each node class"
        findings.add(part, path, expected=wanted, found=error.message)
        return True
    return False


def _can_be_linked(model: LockedModel, job: Realization) -> bool:
    """True if realizing again replaces the fault by a link."""
    try:
        links_to_make([model], job.model_folders)
    except (MismatchError, InvalidInputError):
        return False
    return True


def _check_changed(
    job: Realization, findings: Verification, records: list[InstallRecord]
) -> set[Path]:
    """Compares the files that install scripts changed with their records."""
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


def _check_started(
    job: Realization, findings: Verification, started: list[ChangedFile]
) -> set[Path]:
    """Compares the files that the engine's start changed with the report of the check.

    They may not be there yet: the report may come from another home. Those that Python does not
    import may differ with each start. Returns those that need no other comparison.
    """
    known = set()
    for file in started:
        path = job.home.root / file.path
        found = hash_of(path)
        is_code = path.name.endswith(IMPORTABLE)
        if file.change == "changed" and found == "nothing":
            continue
        if found in ("nothing", file.sha256) or file.sha256 is None or not is_code:
            known.add(path)
        elif file.change == "added":
            known.add(path)
            findings.add("check", path, expected=file.sha256, found=found)
            findings.strays.add(path)
    return known
