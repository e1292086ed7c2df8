"""Asks the hosts of models what they tell about each file: it has to agree with the spec and the
lock. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_errors import ComfyError, InvalidInputError, MismatchError, UnavailableError, for_each
from comfy_files.parallel import in_parallel
from comfy_files.progress import Say
from comfy_http.redaction import without_secrets
from comfy_models.formats import format_of
from comfy_models.hashing import hash_files
from comfy_models.model_file import ModelSource, Pin
from comfy_models.search import local_path
from comfy_models.sources.errors import AccessDeniedError, GoneError
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.kinds import asked
from comfy_models.sources.source import HostFile
from comfy_models.verify import HashMemory
from runpod_comfy.lock.model import LockedModel, UnhashedModel
from runpod_comfy.lock.models.asked import (
    AskedFile,
    KnownModel,
    asked_file,
    asked_files_of_folder,
    faults_of_pickles,
    faults_of_places,
)
from runpod_comfy.spec.model import Model, Spec

_ASKED_AT_ONCE = 16
_SPEC = "the spec"
_LOCK = "the lock"
_CORRECT_MIRRORS = (
    "Correct 'source' and 'mirrors' in the spec: each of them has to be the same file."
)
# A commit of the Hub changes with any file of its repository.
_OF_THE_FILE = {
    "etag": "entity tag",
    "generation": "generation",
    "crc32c": "crc32c",
    "version_id": "version",
    "file_id": "file",
    "length": "length",
}

_Answer = HostFile | ComfyError


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What is said about a file. `by` is a URL or path, the spec or the lock; None is what it does
    not say.

    `sha256` has 64 hex digits, `size` is in bytes.
    """

    by: str
    sha256: str | None = None
    size: int | None = None
    is_here: bool = False


def agreed(model: str, claims: Sequence[Claim]) -> tuple[str | None, int | None]:
    """The sha256 and the size of the file; None for what no claim says.

    `model` is the model's name in the spec. Raises MismatchError for two claims that differ.
    """
    sizes = [(claim, claim.size) for claim in claims if claim.size is not None]
    for claim, size in sizes:
        first, expected = sizes[0]
        if size != expected:
            found = f"{without_secrets(claim.by)} has {size} bytes"
            raise _disagreement(model, found, claim, first, str(expected), "size")
    hashes = [(claim, claim.sha256) for claim in claims if claim.sha256 is not None]
    for claim, sha256 in hashes:
        first, known = hashes[0]
        if sha256 != known:
            found = f"{without_secrets(claim.by)} has sha256 {sha256}"
            raise _disagreement(model, found, claim, first, known, "checksum")
    return hashes[0][1] if hashes else None, sizes[0][1] if sizes else None


def _disagreement(
    model: str, found: str, claim: Claim, first: Claim, expected: str, key: str
) -> MismatchError:
    says = "says" if first.by in (_SPEC, _LOCK) else "has"
    place = "Put the right file there, or correct" if claim.is_here else "Correct 'source' or"
    remedy = _CORRECT_MIRRORS
    if first.by == _SPEC:
        remedy = f"{place} '{key}' in the spec."
    elif first.by == _LOCK and claim.is_here:
        remedy = (
            "Put the right file back, or accept the new one with: runpod-comfy resolve <id> "
            f"--upgrade {model}"
        )
    return MismatchError(
        f"model {model}: {found}, {without_secrets(first.by)} {says} {expected}", remedy=remedy
    )


@dataclass(frozen=True, kw_only=True)
class PinnedFile:
    """A file that was asked for. `told` is what is known from each URL, except those that could not
    be asked; `here` are the files on this machine among them.
    """

    asked: AskedFile
    told: Mapping[str, HostFile]
    here: Mapping[str, Path]

    @property
    def sources(self) -> list[ModelSource]:
        """Every URL with its pin, which is empty for one that could not be asked."""
        unasked = HostFile()
        return [
            ModelSource(url=url, pin=self.told.get(url, unasked).pin) for url in self.asked.urls
        ]

    def agreed(self, hashes: Mapping[Path, str]) -> tuple[str | None, int | None]:
        """The sha256 and the size of the file, as far as they are known; `hashes` are those of
        files on this machine. Raises MismatchError if anything disagrees.
        """
        asked, known = self.asked, self.asked.known
        claims = [Claim(by=_SPEC, sha256=asked.sha256, size=asked.size)]
        if known is not None:
            claims.append(Claim(by=_LOCK, sha256=known.sha256, size=known.size))
        for url, told in self.told.items():
            path = self.here.get(url)
            sha256 = told.sha256 if path is None else hashes.get(path)
            by = url if path is None else str(path)
            claims.append(Claim(by=by, sha256=sha256, size=told.size, is_here=path is not None))
        return agreed(asked.model, claims)


def _pin_files(
    files: Sequence[AskedFile], hosts: Hosts, *, offline: bool, say: Say
) -> tuple[list[PinnedFile], list[ComfyError]]:
    """What the hosts of each file tell; and the errors of those that cannot be locked.

    URLs whose pin is known are not asked. One that cannot be asked gets a warning if another can,
    or if the spec states what it would tell.
    """
    asked = [(file, url) for file in files for url in file.urls]
    found = iter(
        in_parallel(
            lambda item: _answer(*item, hosts, offline=offline), asked, threads=_ASKED_AT_ONCE
        )
    )
    pinned, errors = [], []
    for file in files:
        answers = {url: next(found) for url in file.urls}
        refused = {url: each for url, each in answers.items() if isinstance(each, ComfyError)}
        if faults := _faults(file, list(refused.values())):
            errors += faults
            continue
        told = {url: each for url, each in answers.items() if isinstance(each, HostFile)}
        here = {url: path for url in told if (path := local_path(url, hosts.base_dir)) is not None}
        each = PinnedFile(asked=file, told=told, here=here)
        try:
            each.agreed({})
        except ComfyError as error:
            errors.append(error)
            continue
        pinned.append(each)
        for url, refusal in refused.items():
            say(_warning(file, refusal, local_path(url, hosts.base_dir)))
    return pinned, errors


def _answer(file: AskedFile, url: str, hosts: Hosts, *, offline: bool) -> _Answer:
    path = local_path(url, hosts.base_dir)
    pins = {source.url: source.pin for source in file.known.sources} if file.known else {}
    if path is None and url in pins:
        return HostFile(pin=pins[url])
    if path is None and offline:
        return UnavailableError(
            f"{without_secrets(url)} cannot be asked (--offline)",
            remedy="Run the command once without --offline.",
        )
    if path is None and url in file.told:
        return file.told[url]
    try:
        return asked(url, hosts)
    except ComfyError as error:
        return error


def _faults(file: AskedFile, errors: Sequence[ComfyError]) -> list[ComfyError]:
    """Those for which the file cannot be locked; none if another of its URLs can be asked, or if
    what they would tell is known.
    """
    wrong = [error for error in errors if isinstance(error, InvalidInputError)]
    if not wrong:
        if len(errors) < len(file.urls) or file.known is not None:
            return []
        if None not in (file.sha256, file.size) and not any(map(_is_final, errors)):
            return []
    return [error.within(f"model {file.name}") for error in wrong or errors]


def _is_final(error: ComfyError) -> bool:
    """True if the host answered, and asking again would not help."""
    is_reached = isinstance(error, GoneError | AccessDeniedError)
    return is_reached or not isinstance(error, UnavailableError)


def _warning(file: AskedFile, error: ComfyError, path: Path | None) -> str:
    if path is not None and file.known is not None:
        return f"Warning: {file.name} is not at {path}; keeping its pin"
    return f"Warning: model {file.name}: {error.message}; this source is not pinned"


def change_of_pin(before: Pin, now: Pin) -> tuple[str, str, str] | None:
    """What differs between two pins of one URL, as far as both tell it, and its two values; None if
    they can be of the same file.
    """
    for key, title in _OF_THE_FILE.items():
        then, today = getattr(before, key), getattr(now, key)
        if None not in (then, today) and then != today:
            return title, str(then), str(today)
    return None


@dataclass(frozen=True, kw_only=True)
class LockedModels:
    """The models of a lock, in the order of the spec; those that are `unhashed` have an index."""

    models: list[LockedModel]
    unhashed: list[UnhashedModel]


def pin_models(
    spec: Spec,
    known: Sequence[KnownModel],
    hosts: Hosts,
    *,
    offline: bool,
    say: Say,
) -> tuple[list[PinnedFile], list[ComfyError]]:
    """Every model file of the spec, in its order, with what its hosts report; and an error for each
    that is missing, cannot be pinned, or is not what the spec or the lock says.

    Pins in `known` are kept.
    """

    def files_of(model: Model) -> list[AskedFile] | ComfyError:
        try:
            if model.is_folder:
                return asked_files_of_folder(model, known, hosts, offline=offline)
        except ComfyError as error:
            return error
        return [asked_file(model, known)]

    found = in_parallel(files_of, spec.models)
    errors = [each for each in found if isinstance(each, ComfyError)]
    files = [file for each in found if not isinstance(each, ComfyError) for file in each]
    errors += faults_of_places(files)
    errors += faults_of_pickles(files, spec.options.allow_pickle)
    pinned, unpinned = _pin_files(files, hosts, offline=offline, say=say)
    return pinned, [*errors, *unpinned]


def lock_models(pinned: Sequence[PinnedFile], memory: HashMemory, say: Say) -> LockedModels:
    """The models with what `pin_models` found, once all files on this machine are hashed.

    Raises MismatchError for one that is not what the spec, the lock or another source says.
    """
    here = {path: file.asked.name for file in pinned for path in file.here.values()}
    hashes = hash_files(here, memory, say)
    agreed = for_each(lambda file: file.agreed(hashes), pinned)
    locked = LockedModels(models=[], unhashed=[])
    for index, (file, (sha256, size)) in enumerate(zip(pinned, agreed, strict=True)):
        fields: dict[str, Any] = {
            "name": file.asked.name,
            "sources": file.sources,
            "sha256": sha256,
            "size": size,
            "target_path": file.asked.place,
            "format": format_of(file.asked.place),
        }
        if None in (sha256, size):
            locked.unhashed.append(UnhashedModel(**fields, index=index))
        else:
            locked.models.append(LockedModel(**fields, hashed_on_download=_was_downloaded(file)))
    return locked


def _was_downloaded(file: PinnedFile) -> bool | None:
    """True if only the previous lock has the sha256, and has it from a download."""
    known = file.asked.known
    is_told = file.asked.sha256 or any(each.sha256 for each in file.told.values()) or file.here
    is_of_download = isinstance(known, LockedModel) and known.hashed_on_download
    return True if is_of_download and not is_told else None
