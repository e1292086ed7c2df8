"""From a request to the home that is run, and to how its models are looked for there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from rp_handler.home.choice import HomeChoice, choose_home, require_lock
from rp_handler.home.model_search import ModelSearch, make_search, missing_policy
from rp_handler.home.realized import Home, open_home
from rp_handler.home.writable import can_write
from rp_handler.run_request import RunRequest


def open_for_run(
    request: RunRequest, environment: Mapping[str, str], *, say: Callable[[str], None]
) -> tuple[Home, ModelSearch | None]:
    """The home that `request` means, opened; the search is None outside of an image.

    Raises UnavailableError and InvalidInputError.
    """
    choice = choose_home(request.version_id, request.home, environment)
    home = open_home(
        choice.path,
        version_id=request.version_id,
        id_was_asked=request.id_was_asked,
        models_dir=_models_dir(request, choice, environment),
        is_baked=choice.path == choice.baked,
    )
    if request.lock_path is not None:
        require_lock(home, request.lock_path)
    if choice.replaces_baked:
        say(f'The version "{home.manifest.version_id}" at {home.path} replaces the image\'s own.')
    return home, make_search(home, choice, environment)


def _models_dir(
    request: RunRequest, choice: HomeChoice, environment: Mapping[str, str]
) -> Path | None:
    """The models folder that was asked for, else the volume's, if it has one."""
    asked = request.models_dir
    if asked is None:
        volume = choice.volume / "models" if choice.volume else None
        return volume if volume and volume.is_dir() else None
    downloads = choice.baked is not None and missing_policy(environment) == "download"
    if downloads and not asked.exists() and can_write(asked):
        asked.mkdir(parents=True)
    return asked
