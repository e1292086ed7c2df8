"""From the flags of a command to a realization of a version on this machine."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from runpod_comfy.cli.console import Console
from runpod_comfy.cli.version import select, version_id_of
from runpod_comfy.realize.run import Realization
from runpod_comfy.sources.cache import Cache


def realization_of(arguments: argparse.Namespace, console: Console) -> Realization:
    """What these flags, the environment and the defaults ask for, resolving if need be."""
    selected = select(
        version_id=version_id_of(arguments.version, arguments.version_id),
        spec=arguments.spec,
        lock=arguments.lock,
        offline=arguments.offline,
        console=console,
    )
    models_dir = arguments.models_dir or _folder_named_by("MODELS_DIR")
    watched = console.on_a_terminal or console.verbose
    return Realization(
        lock=selected.lock,
        base_dir=selected.base_dir,
        target=_target(arguments.target, selected.lock.version_id),
        cache=Cache.from_environment(),
        models_dir=models_dir.expanduser().absolute() if models_dir else None,
        wheels_dir=arguments.wheels_dir.absolute() if arguments.wheels_dir else None,
        offline=arguments.offline,
        say=console.say,
        show=sys.stderr.buffer if watched else None,
    )


def _target(asked: Path | None, version_id: str) -> Path:
    named = asked or _folder_named_by("COMFY_HOME")
    return (named.expanduser() if named else Path.home() / f"comfy-{version_id}").absolute()


def _folder_named_by(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None
