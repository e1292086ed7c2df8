"""Asks the hosts of models what they tell about each file. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import ComfyError, InvalidInputError, UnavailableError
from comfy_files.parallel import in_parallel
from comfy_files.progress import Say
from comfy_http.redaction import without_secrets
from comfy_models.model_file import ModelSource
from comfy_models.search import local_path
from comfy_models.sources.errors import AccessDeniedError, GoneError
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.kinds import asked
from comfy_models.sources.source import HostFile
from runpod_comfy.lock.models.asked import AskedFile
from runpod_comfy.lock.models.claims import Claim, agreed, claim_of_lock, claim_of_spec

_ASKED_AT_ONCE = 16

_Answer = HostFile | ComfyError


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
        claims = [claim_of_spec(asked.sha256, asked.size)]
        if known is not None:
            claims.append(claim_of_lock(known.sha256, known.size))
        for url, told in self.told.items():
            path = self.here.get(url)
            sha256 = told.sha256 if path is None else hashes.get(path)
            by = url if path is None else str(path)
            claims.append(Claim(by=by, sha256=sha256, size=told.size, is_here=path is not None))
        return agreed(asked.model, claims)


def pin_files(
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
