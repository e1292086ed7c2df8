"""Brings the models of a job into the folder of such models: all, or none with one error that names
each.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comfy_errors import ComfyError, InvalidInputError, OperationFailedError, UnavailableError
from comfy_files.progress import Progress, Say, readable_size
from comfy_http.errors import TransientError
from comfy_models.formats import fault_of_file
from comfy_models.model_file import ModelSource
from comfy_models.sources.kinds import asked
from comfy_models.transfer.place import unhashed_in_store
from comfy_models.transfer.unhashed import fetch_unhashed
from rp_handler.errors import InputFetchError
from rp_handler.home.realized import Home
from rp_handler.inputs.faults import for_all, require_sha256
from rp_handler.inputs.policy import InputPolicy
from rp_handler.job_models.document import JobModel
from rp_handler.job_models.hosts import JobHosts, with_remedy_of_a_job
from rp_handler.job_models.kept import KeptModels
from rp_handler.job_models.names import Name, directories_of_engine, file_in_the_way
from rp_handler.job_models.policy import LIMIT_GB, ModelPolicy
from rp_handler.job_models.wanted import Wanted, source_of, target_of, wanted_models

_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class Brought:
    """The models of a job that the engine does not have anyway, on this machine until they are
    closed.

    `files` are the stored files by target path, `digests` their sha256 by target path, and
    `by_name` by the names under which the engine finds them.
    """

    files: Mapping[str, Path]
    digests: Mapping[str, str]
    by_name: Mapping[Name, str]
    close: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class ModelFetch:
    """Fetches the models of jobs that are not in `home`, with the environment's `variables`."""

    home: Home
    kept: KeptModels
    policy: ModelPolicy
    inputs: InputPolicy
    variables: Mapping[str, str] = field(repr=False)
    say: Say

    def bring(self, models: Sequence[JobModel]) -> Brought:
        """Raises InvalidInputError, InputFetchError, and UnavailableError for a version that was
        never checked.
        """
        wanted = wanted_models(models, directories_of_engine(self.home))
        for_all(self._require_allowed, wanted, field_of=source_of, kind="models")
        with (
            contextlib.ExitStack() as stack,
            _disk_errors(),
            contextlib.closing(JobHosts(self.inputs, self.variables, self.say)) as hosts,
        ):
            known = [one for one in wanted if one.sha256 is not None]
            self._look(known, stack)
            self._ask(_missing(wanted), hosts)
            self._look(_missing(wanted), stack)
            self._download(_missing(wanted), wanted, hosts, stack)
            for_all(self._prepare, wanted, field_of=source_of, kind="models")
            fetched = [(one, one.held.path) for one in wanted if one.held is not None]
            return Brought(
                files={one.model.target_path: path for one, path in fetched},
                digests={one.model.target_path: path.name for one, path in fetched},
                by_name={name: path.name for one, path in fetched for name in one.names},
                close=stack.pop_all().close,
            )

    def _require_allowed(self, one: Wanted) -> None:
        self.policy.require_allowed(one.model.source, self.variables)

    def _look(self, wanted: Sequence[Wanted], stack: contextlib.ExitStack) -> None:
        """Looks for models that need not be fetched. Raises InvalidInputError if the worker has
        another file under the name of one.
        """
        folders = self.home.model_folders()
        of_version = {it.target_path: it.sha256 for it in self.home.manifest.models}

        def look(one: Wanted) -> None:
            file, path = file_in_the_way(one.names, folders), one.model.target_path
            if file is not None:
                shown = folders.below_root(file) or file.name
                _require_equal(one, self.home.sha256_of_model(file), shown)
                one.here = file
                return
            if path in of_version:
                # The version lacks it here.
                one.sha256 = one.sha256 or of_version[path]
                _require_equal(one, of_version[path], path)
            if one.sha256 is not None:
                self._hold(one, one.sha256, stack)

        for_all(look, wanted, field_of=target_of, kind="models")

    def _hold(self, one: Wanted, sha256: str, stack: contextlib.ExitStack) -> None:
        one.held = self.kept.hold(sha256)
        if one.held is not None:
            stack.callback(one.held.close)

    def _ask(self, wanted: Sequence[Wanted], hosts: JobHosts) -> None:
        """Asks the hosts of models for their sizes and sha256."""

        def ask(one: Wanted) -> None:
            source = one.model.source
            with _remedies():
                one.told = asked(source, hosts.of(source))
            require_sha256(one.told.sha256, one.sha256)
            one.sha256 = one.sha256 or one.told.sha256
            self._require_small(one.told.size or 0)

        for_all(ask, wanted, field_of=source_of, kind="models", threads=_AT_ONCE)

    def _require_small(self, size_bytes: float, named: str = "is ") -> None:
        most_bytes = self.policy.limit_bytes
        if size_bytes > most_bytes:
            raise InvalidInputError(
                f"{named}larger than {readable_size(most_bytes)}, the most that {LIMIT_GB} of this "
                "worker allows",
                remedy=f"Use smaller models, or set {LIMIT_GB} to a larger number.",
            )

    def _download(
        self,
        missing: Sequence[Wanted],
        wanted: Sequence[Wanted],
        hosts: JobHosts,
        stack: contextlib.ExitStack,
    ) -> None:
        if not missing:
            return
        held = [one.held for one in wanted if one.held is not None]
        held_bytes = sum(it.size_bytes for it in held)
        size_bytes = sum(one.told.size or 0 for one in missing)
        self._require_small(
            held_bytes + size_bytes, "The job's input cannot be used: 'models' together are "
        )
        places = [unhashed_in_store(self.kept.store, one.model.source) for one in missing]
        keep = {place.key for place in places} | {it.path.name for it in held}
        written_bytes = sum(place.written_bytes for place in places)
        self.kept.make_room(max(0, size_bytes - written_bytes), keep=keep)
        left = _Left(self.policy.limit_bytes - held_bytes, self._require_small)

        def download(one: Wanted) -> None:
            source = one.model.source
            try:
                with _remedies():
                    sha256, _ = fetch_unhashed(
                        ModelSource(url=source, pin=one.told.pin),
                        self.kept.store,
                        hosts.of(source),
                        target_path=one.model.target_path,
                        say=self.say,
                        progress=left,
                    )
            except InvalidInputError:
                # What is too large is not continued later.
                unhashed_in_store(self.kept.store, source).discard()
                raise
            require_sha256(sha256, one.sha256)
            self._hold(one, sha256, stack)
            if one.held is None:
                raise TransientError(
                    "was removed by another worker while it was fetched",
                    remedy="Send the job again.",
                )

        for_all(download, missing, field_of=source_of, kind="models", threads=_AT_ONCE)
        # Not all hosts state a size beforehand.
        self.kept.make_room(0, keep=keep | {one.held.path.name for one in missing if one.held})

    def _prepare(self, one: Wanted) -> None:
        if one.held is None:
            return
        # An earlier job may have used the file under a name of another format.
        if fault := fault_of_file(one.held.path, one.model.target_path):
            raise UnavailableError(f"the file {fault}", remedy="Use the address of another file.")
        self.kept.note_use(one.held.path.name, one.model.target_path)


class _Left(Progress):
    """Ends downloads of more than `left_bytes`, which not all hosts state beforehand."""

    def __init__(self, left_bytes: int, require_small: Callable[[float], None]) -> None:
        self._left_bytes, self._require_small = left_bytes, require_small
        self._lock = threading.Lock()

    def arrived(self, part: str, *, count: int = 0, size_bytes: int = 0) -> None:  # noqa: ARG002
        with self._lock:
            self._left_bytes -= size_bytes
            is_over = self._left_bytes < 0
        if is_over and size_bytes > 0:
            self._require_small(float("inf"))


def _missing(wanted: Sequence[Wanted]) -> list[Wanted]:
    return [one for one in wanted if one.is_missing]


def _require_equal(one: Wanted, known: str | None, shown: str) -> None:
    """Raises InvalidInputError unless a model is the file `shown` of the worker, whose sha256 is
    `known`.
    """
    if known is not None and known == one.sha256:
        return
    own = f"is the name of the worker's own model {shown}"
    if known is not None and one.sha256 is None:
        raise InvalidInputError(
            f"{own}, and whether it is the same file is not known",
            remedy=f"State its sha256; the worker's own has {known}. Or choose another name.",
        )
    raise InvalidInputError(f"{own}, which is another file", remedy="Choose another name.")


@contextlib.contextmanager
def _remedies() -> Iterator[None]:
    try:
        yield
    except ComfyError as error:
        raise with_remedy_of_a_job(error) from error.__cause__


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """Another worker may have the room that this one lacks."""
    try:
        yield
    except InputFetchError:
        raise
    except OperationFailedError as error:
        raise InputFetchError(
            f"The job's models could not be fetched: {error.message.rstrip('.')}.",
            remedy=error.remedy,
            details={},
            retryable=True,
        ) from error
