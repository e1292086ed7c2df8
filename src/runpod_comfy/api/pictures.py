"""Whether this machine can make a picture again, from the provenance in its file."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from comfy_errors import ComfyError, InvalidInputError, MismatchError, UnavailableError
from comfy_errors.names import in_lines, quantity
from comfy_files.progress import Say, say_nothing
from comfy_home.import_needs import needs_cpu
from comfy_home.layout import HomeLayout, find_home
from comfy_home.manifest import load_manifest
from comfy_home.platforms import this_platform
from comfy_http.redaction import in_one_line
from comfy_models.store import ModelStore, names_stored
from comfy_models.verify import HashMemory, store_memory
from comfy_workflows.compare.run import Device
from rp_handler.inputs.names import fault_of_name
from rp_handler.job.device import device_of, nvidia_gpus
from runpod_comfy.api.provenance import PictureOrigin, Provenance, UsedModel, read_origin
from runpod_comfy.api.versions import read_spec
from runpod_comfy.api.workspace import StrPath, as_path, find_models_dir, find_project
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import read_roots
from runpod_comfy.images.docker.connection import connect
from runpod_comfy.images.show import list_images
from runpod_comfy.lock.model import Lock
from runpod_comfy.lock.store import find_lock, load_lock

State = Literal["here", "missing", "different", "unknown"]

# An engine on this machine answers in milliseconds.
_WAIT_S = 2


@dataclass(frozen=True, kw_only=True)
class PictureFinding:
    """One thing that the picture was made from, and whether it is here. Of something that is
    `different`, this machine has another one. `unknown` is what the picture does not say, or what
    cannot be found out. `sentence` may have texts of the picture, made printable.
    """

    part: Literal["graph", "lock", "version", "model", "input", "device"]
    name: str
    state: State
    sentence: str
    remedy: str = ""

    @property
    def holds(self) -> bool:
        return self.state in ("here", "unknown")


@dataclass(frozen=True, kw_only=True)
class VerifiedPicture:
    """`command` makes the picture again, if nothing is missing; WORKFLOW stands for the file with
    its graph.
    """

    path: Path
    origin: PictureOrigin
    findings: Sequence[PictureFinding]
    command: str

    @property
    def error(self) -> ComfyError | None:
        """Why this machine cannot make it again, None if it can."""
        wrong = [finding for finding in self.findings if not finding.holds]
        if not wrong:
            return None
        lines = [f"{one.sentence}. {one.remedy}".rstrip() for one in wrong]
        is_changed = any(one.part == "graph" and one.state == "different" for one in wrong)
        kind = MismatchError if is_changed else UnavailableError
        return kind(f"this machine cannot make {self.path} again:{in_lines(lines)}")


@dataclass(frozen=True, kw_only=True)
class _Here:
    """What is known of this machine: the lock of the picture with its file, whether it is that of
    the version's current spec, and the home of the version, ready or not.
    """

    cache: Cache
    lock: Lock | None = None
    lock_path: Path | None = None
    is_current: bool = False
    home: HomeLayout
    is_ready: bool = False
    image: str | None = None
    say: Say = field(default=say_nothing, repr=False)


def verify_picture(
    path: StrPath,
    *,
    project: StrPath | None = None,
    say: Say = say_nothing,
    explain: Say = say_nothing,
) -> VerifiedPicture:
    """What a PNG, JPEG or WebP file of a run with `--provenance` was made from, and whether all of
    it is on this machine. Models are read if nothing is remembered of them, which `say` reports.

    Raises UnavailableError if there is no such file, InvalidInputError for a file that does not say
    it or cannot be used.
    """
    file = as_path(path)
    assert file is not None, "a path is a path"
    origin = read_origin(file)
    made_from = origin.provenance
    here = _look_around(made_from, find_project(project), say=say, explain=explain)
    findings = [
        _graph(origin),
        _lock(made_from, here),
        _version(made_from, here),
        *_models(made_from, here),
        *_inputs(made_from, here),
        _device(made_from, here),
    ]
    return VerifiedPicture(
        path=file, origin=origin, findings=findings, command=_command(made_from, here)
    )


def _look_around(made_from: Provenance, project: Path, *, say: Say, explain: Say) -> _Here:
    cache = Cache.from_environment()
    version = made_from.version
    version_id = version.id or "demo"
    found = _find_lock(version_id, version.lock, project, cache) if version.lock else None
    lock, lock_path, is_current = found or (None, None, False)
    usual = find_home(version_id, None, os.environ)
    ready = next((home for home in _homes(usual, cache) if _is_of(home, version.lock, lock)), None)
    return _Here(
        cache=cache,
        lock=lock,
        lock_path=lock_path,
        is_current=is_current,
        home=HomeLayout(root=ready or usual),
        is_ready=ready is not None,
        image=_image(version.lock, explain) if ready is None else None,
        say=say,
    )


def _find_lock(
    version_id: str, digest: str, project: Path, cache: Cache
) -> tuple[Lock, Path, bool] | None:
    with contextlib.suppress(ComfyError):
        found = find_lock(read_spec(version_id, None, project), cache)
        if found is not None and found[0].is_named_by(digest):
            return *found, True
    name = f"{version_id}.lock.json"
    for path in (
        project / "lockfiles" / f"comfy-{name}",
        cache.resolved / name,
        cache.loaded / "lockfiles" / f"comfy-{name}",
    ):
        with contextlib.suppress(ComfyError):
            lock = load_lock(path)
            if lock.is_named_by(digest):
                return lock, path, False
    return None


def _homes(usual: Path, cache: Cache) -> Iterator[Path]:
    yield usual
    with contextlib.suppress(InvalidInputError):
        yield from (root.path for root in read_roots(cache) if root.kind == "home")


def _is_of(home: Path, digest: str | None, lock: Lock | None) -> bool:
    """Whether a complete version was realized at `home` from the lock."""
    try:
        manifest = load_manifest(home)
    except InvalidInputError:
        return False
    if manifest is None or not manifest.complete or manifest.lock_digest is None:
        return False
    its = manifest.lock_digest
    return its == digest or (lock is not None and lock.is_named_by(its))


def _image(digest: str | None, explain: Say) -> str | None:
    """A name of the image that was built from the lock, None if no engine answers."""
    try:
        images = list_images(connect(wait_s=_WAIT_S))
    except ComfyError as error:
        explain(f"Images were not looked at: {error.message}")
        return None
    return next((image.tags[0] for image in images if image.lock_digest == digest), None)


def _graph(origin: PictureOrigin) -> PictureFinding:
    stated, found = origin.provenance.workflow, origin.graph_digest
    if origin.graph is None:
        state: State = "missing"
        sentence, remedy = "the picture has no graph in it", "Take the workflow from elsewhere."
    elif found == stated:
        state, remedy = "here", ""
        sentence = f"the graph is in the picture, with {quantity(len(origin.graph.nodes), 'node')}"
    else:
        state, remedy = "different", "Take the file as it was made."
        sentence = f"the graph was changed after the picture was made: it is {found}, not {stated}"
    return PictureFinding(part="graph", name=stated, state=state, sentence=sentence, remedy=remedy)


def _lock(made_from: Provenance, here: _Here) -> PictureFinding:
    digest, version_id = made_from.version.lock, made_from.version.id
    state: State = "missing"
    remedy = ""
    if digest is None:
        sentence = "it was made by a ComfyUI without a lock, which nothing can make again"
    elif here.lock_path is not None:
        state, sentence = "here", f"its lock is {here.lock_path}"
    else:
        sentence = f"no lock of {version_id} here is {digest}"
        remedy = "Check out the commit of the project that has it, or name it with --project."
    return PictureFinding(
        part="lock", name=digest or "", state=state, sentence=sentence, remedy=remedy
    )


def _version(made_from: Provenance, here: _Here) -> PictureFinding:
    state: State = "here"
    remedy = ""
    if here.is_ready:
        sentence = f"its version is realized at {here.home.root}"
    elif here.image is not None:
        sentence = f"its version is the image {here.image}"
    else:
        state = "missing"
        sentence = "its version is neither realized here nor an image of the Docker engine"
        if here.lock is not None:
            remedy = f"Run: runpod-comfy realize {_named(made_from, here)}"
    name = made_from.version.id or ""
    return PictureFinding(part="version", name=name, state=state, sentence=sentence, remedy=remedy)


def _models(made_from: Provenance, here: _Here) -> Iterator[PictureFinding]:
    if made_from.models is None:
        sentence = "which models it was made with is not known: its version was never checked"
        yield PictureFinding(part="model", name="", state="unknown", sentence=sentence)
        return
    store = ModelStore(here.cache.models)
    shared = find_models_dir(None)
    folders = [here.home.models, here.home.shipped_models, *([shared] if shared else [])]
    memory = store_memory(store, *folders)
    for model in made_from.models:
        yield _model(model, made_from, here, store, folders, memory)
    memory.save()


def _model(
    model: UsedModel,
    made_from: Provenance,
    here: _Here,
    store: ModelStore,
    folders: Sequence[Path],
    memory: HashMemory,
) -> PictureFinding:
    title = f"the model {in_one_line(model.path)}"

    def finding(state: State, sentence: str, remedy: str = "") -> PictureFinding:
        return PictureFinding(
            part="model", name=model.path, state=state, sentence=sentence, remedy=remedy
        )

    if model.sha256 is None:
        return finding("unknown", f"{title} was not verified when the picture was made")
    places = [folder / model.path for folder in folders if fault_of_name(model.path) is None]
    found = {place: _sha256_at(place, memory, here.say) for place in places}
    for place, sha256 in found.items():
        if sha256 == model.sha256:
            return finding("here", f"{title} is at {place}")
    locked = here.lock is not None and any(it.sha256 == model.sha256 for it in here.lock.models)
    if locked and store.holds(model.sha256):
        return finding("here", f"{title} is in the model store")
    remedy = f"Run: runpod-comfy verify-models {_named(made_from, here)}" if locked else ""
    for place, sha256 in found.items():
        if sha256 is not None:
            fault = f"{place} has sha256 {sha256}, not {model.sha256}"
            return finding("different", fault, remedy and f"{remedy} --overwrite")
    remedy = remedy or f"Put it into {folders[0]}: the lock does not have it."
    return finding("missing", f"{title} with sha256 {model.sha256} is not here", remedy)


def _inputs(made_from: Provenance, here: _Here) -> Iterator[PictureFinding]:
    folder = here.home.root / "input"
    memory = HashMemory([])
    for used in made_from.inputs:
        title = f"the input file {in_one_line(used.name)}"
        is_plain = fault_of_name(used.name) is None
        sha256 = _sha256_at(folder / used.name, memory, say_nothing) if is_plain else None
        if sha256 == used.sha256:
            state: State = "here"
            sentence, remedy = f"{title} is in {folder}", ""
        else:
            state = "missing" if sha256 is None else "different"
            sentence = f"{title} with sha256 {used.sha256} is not in {folder}"
            remedy = "Put it there: a picture does not carry the files that it was made from."
        yield PictureFinding(
            part="input", name=used.name, state=state, sentence=sentence, remedy=remedy
        )


def _sha256_at(path: Path, memory: HashMemory, say: Say) -> str | None:
    """The sha256 of a file, which is read if nothing is remembered of it; None without one."""
    with contextlib.suppress(OSError):
        if path.is_file():
            known = memory.recall(path) or names_stored(os.path.realpath(path))
            if known is None:
                say(f"Reading {path}")
                known = memory.hash_of(path)
            return known
    return None


def _device(made_from: Provenance, here: _Here) -> PictureFinding:
    device = made_from.device
    title = in_one_line(device.in_words())
    state: State = "different"
    if device.platform != this_platform():
        sentence = f"it was made on {title}, and this machine is {this_platform()}"
    elif device.type == "cpu":
        gpus = nvidia_gpus() if _uses_gpu(here.lock) else []
        state = "different" if gpus else "here"
        sentence = f"it was made on {title}"
        if gpus:
            sentence += f", and ComfyUI would compute on {gpus[0]} here"
    elif device.driver is None:
        # Only NVIDIA's driver lists what it has.
        state, sentence = "unknown", f"it was made on {title}; whether that is here is not known"
    else:
        gpus = nvidia_gpus()
        state = "here" if device.name in gpus else "different"
        sentence = f"it was made on {title}"
        if device.name not in gpus:
            sentence += f", and this machine has {gpus[0] if gpus else 'no NVIDIA GPU'}"
    remedy = ""
    if state == "different":
        remedy = (
            "Another device makes a picture that is slightly different: compare with tolerance."
        )
    sentence += "".join(_changes_of(device) if state == "here" else ())
    return PictureFinding(
        part="device", name=device.name, state=state, sentence=sentence, remedy=remedy
    )


def _changes_of(device: Device) -> Iterator[str]:
    """What may differ on equal devices, each as the end of a sentence."""
    now = device_of({"devices": [{"type": device.type}]})
    for what in ("driver", "processor"):
        before, after = getattr(device, what), now[what]
        if before and after and before != after:
            yield f"; the {what} was {in_one_line(before)}, and is {after}"


def _uses_gpu(lock: Lock | None) -> bool:
    if lock is not None and (lock.python.cuda is None or "--cpu" in lock.comfy_args):
        return False
    return not needs_cpu(os.environ)


def _named(made_from: Provenance, here: _Here) -> str:
    """The arguments that name the version with this lock."""
    named = str(made_from.version.id)
    if here.lock_path is not None and not here.is_current:
        named += f" --lock {shlex.quote(str(here.lock_path))}"
    return named


def _command(made_from: Provenance, here: _Here) -> str:
    words = f"run {_named(made_from, here)}"
    if here.image is not None and here.is_current:
        words = f"image run {made_from.version.id} --image {here.image}"
    elif here.is_ready and here.home.root != find_home(str(made_from.version.id), None, os.environ):
        words += f" --target {shlex.quote(str(here.home.root))}"
    return f"runpod-comfy {words} --workflow WORKFLOW"


def picture_document(verified: VerifiedPicture) -> dict[str, Any]:
    """`verified` as `verify-picture --json` prints it."""
    return {
        "picture": str(verified.path),
        "provenance": verified.origin.provenance.model_dump(by_alias=True),
        "can_be_made": verified.error is None,
        "findings": [vars(finding) for finding in verified.findings],
        "command": verified.command if verified.error is None else None,
    }
