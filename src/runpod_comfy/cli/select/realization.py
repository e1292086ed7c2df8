"""From the flags of a command to a realization of a version on this machine."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from comfy_errors import InvalidInputError, UnavailableError
from rp_handler.home.realized import find_home
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cli.select.version import keep_cache_for, select
from runpod_comfy.cli.select.workspace import version_id_of
from runpod_comfy.cli.show.arrivals import Display
from runpod_comfy.cli.show.console import Console
from runpod_comfy.realize.result import RealizeResult
from runpod_comfy.realize.run import Realization, realize


def realization_of(arguments: argparse.Namespace, console: Console) -> Realization:
    """What these flags, the environment and the defaults ask for, resolving if need be."""
    version_id = version_id_of(arguments.version, arguments.version_id)
    selected = select(
        version_id=version_id,
        spec=arguments.spec,
        lock=arguments.lock,
        offline=arguments.offline,
        console=console,
    )
    if (arguments.version or arguments.version_id) and version_id != selected.lock.version_id:
        raise InvalidInputError(
            f"'{version_id}' was asked for, and {arguments.lock or arguments.spec} "
            f"is of '{selected.lock.version_id}'",
            remedy="Leave one of the two out.",
        )
    cache = Cache.from_environment()
    if not getattr(arguments, "dry_run", False):
        keep_cache_for(selected, cache, console)
    if arguments.wheels_dir and not arguments.wheels_dir.is_dir():
        raise UnavailableError(
            f"there is no folder {arguments.wheels_dir}",
            remedy="Name a folder of wheels with --wheels-dir, or leave it out.",
        )
    named = os.environ.get("MODELS_DIR")
    models_dir = arguments.models_dir or (Path(named) if named else None)
    return Realization(
        lock=selected.lock,
        base_dir=selected.base_dir,
        target=find_home(selected.lock.version_id, arguments.target, os.environ),
        cache=cache,
        models_dir=models_dir.expanduser().absolute() if models_dir else None,
        wheels_dir=arguments.wheels_dir.absolute() if arguments.wheels_dir else None,
        offline=arguments.offline,
        say=console.say,
        show=sys.stderr.buffer if console.verbose else None,
    )


def realize_visibly(realization: Realization, console: Console) -> RealizeResult:
    """Realizes; on a terminal one line shows what arrives, unless scripts are to be seen."""
    if console.verbose or not console.on_a_terminal:
        return realize(realization)
    display = Display(sys.stderr)
    try:
        return realize(replace(realization, say=display.say, progress=display))
    finally:
        display.clear()
