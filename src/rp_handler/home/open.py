"""Chooses the home to run for a request (the one it names, the one on a volume, or the image's
own), and how to search for its models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from comfy_errors import InvalidInputError
from comfy_files.json_file import read_object
from comfy_files.user_paths import expanded
from comfy_home.in_use import home_in_use
from comfy_home.layout import MARKER_NAME, find_home
from comfy_home.lock_bytes import lock_digest, names_lock
from comfy_home.manifest import load_manifest
from rp_handler.home.model_search import ModelSearch, make_search
from rp_handler.home.realized import Home, open_home
from rp_handler.run_request import RunRequest
from rp_handler.variables import image_digest


@dataclass(frozen=True, kw_only=True)
class HomeChoice:
    """`path` is the home to run. In an image, `baked` is the image's own home, and `volume` the
    folder COMFY_HOME if no version is realized there; otherwise both are None.
    """

    path: Path
    baked: Path | None = None
    volume: Path | None = None


@contextmanager
def opened_for_run(
    request: RunRequest, environment: Mapping[str, str], *, say: Callable[[str], None]
) -> Iterator[tuple[Home, ModelSearch | None]]:
    """Opens the home for `request`; the search is None outside an image.

    The home is not changed or removed during the block, nor while an engine of this process runs.
    Raises UnavailableError and InvalidInputError.
    """
    choice = choose_home(request.version_id, request.home, environment)
    with home_in_use(choice.path, say):
        yield _opened(choice, request, environment, say)


def _opened(
    choice: HomeChoice,
    request: RunRequest,
    environment: Mapping[str, str],
    say: Callable[[str], None],
) -> tuple[Home, ModelSearch | None]:
    home = open_home(
        choice.path,
        version_id=request.version_id,
        id_was_asked=request.id_was_asked,
        models_dir=_models_dir(request, choice),
        is_baked=choice.path == choice.baked,
    )
    if request.lock_path is not None:
        require_lock(home, request.lock_path)
    if choice.baked not in (None, choice.path):
        say(f'The version "{home.manifest.version_id}" at {home.root} replaces the image\'s own.')
    if choice.baked is None:
        return home, None
    home = replace(home, image=image_digest(environment))
    return home, _search(home, choice, request, environment)


def opened_for_models(
    request: RunRequest, environment: Mapping[str, str], *, say: Callable[[str], None]
) -> tuple[Home, ModelSearch]:
    """The home for `request`, and the search of a worker for its models, also outside an image.

    Raises UnavailableError and InvalidInputError.
    """
    choice = choose_home(request.version_id, request.home, environment)
    home, _ = _opened(choice, replace(request, models_dir=None), environment, say)
    return home, _search(home, choice, request, environment)


def _search(
    home: Home, choice: HomeChoice, request: RunRequest, environment: Mapping[str, str]
) -> ModelSearch:
    named = request.models_dir.absolute() if request.models_dir else None
    is_baked = choice.path == choice.baked
    return make_search(home, named, choice.volume, environment, is_baked=is_baked)


def choose_home(
    version_id: str, asked_home: Path | None, environment: Mapping[str, str]
) -> HomeChoice:
    """The requested folder; in an image COMFY_HOME if it has a marker, else the image's own home;
    otherwise the default home.
    """
    baked = baked_home(environment)
    if baked is None or asked_home is not None:
        return HomeChoice(path=find_home(version_id, asked_home, environment), baked=baked)
    if not environment.get("COMFY_HOME"):
        return HomeChoice(path=baked, baked=baked)
    volume = find_home(version_id, None, environment)
    if (volume / MARKER_NAME).exists():
        return HomeChoice(path=volume, baked=baked)
    return HomeChoice(path=baked, baked=baked, volume=volume)


def baked_home(environment: Mapping[str, str]) -> Path | None:
    """The home that the image was built with; None outside an image."""
    named = environment.get("COMFY_BAKED_HOME")
    return Path(named) if named else None


def baked_version_id(environment: Mapping[str, str]) -> str | None:
    """The version of the image's own home, None outside an image."""
    home = baked_home(environment)
    manifest = load_manifest(home) if home else None
    return manifest.version_id if manifest else None


def require_lock(home: Home, lock_path: Path) -> None:
    """Raises InvalidInputError if `home` was not made from the lock at `lock_path`, and
    UnavailableError if there is no such lock.
    """
    remedy = "Correct or unset LOCK_PATH."
    document = read_object(expanded(lock_path), "lock", remedy=remedy)
    there = home.manifest.lock_digest
    if not names_lock(there, document):
        raise InvalidInputError(
            f"{home.root} was made from {f'the lock {there}' if there else 'no lock'}, "
            f"and LOCK_PATH asks for {lock_digest(document)} ({lock_path}).",
            remedy="Use the home or the image of that lock, or unset LOCK_PATH.",
        )


def _models_dir(request: RunRequest, choice: HomeChoice) -> Path | None:
    """The requested models folder, else the volume's. In an image, where models are searched for,
    it need not exist: a volume has another path on a pod than on a serverless worker.
    """
    volume = choice.volume / "models" if choice.volume else None
    asked = request.models_dir or volume
    is_there = asked is not None and asked.is_dir()
    return asked if is_there or (request.models_dir and choice.baked is None) else None
