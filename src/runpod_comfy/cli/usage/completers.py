"""What a shell offers for an argument, where the parser itself does not say."""

from __future__ import annotations

import argparse

from runpod_comfy.api.workspace import find_project, spec_files
from runpod_comfy.cache.paths import Cache


def with_version_ids(action: argparse.Action) -> None:
    """Has a shell complete this argument with the versions of the project."""
    # argcomplete reads the attribute.
    action.completer = _version_ids  # type: ignore[attr-defined]


def _version_ids(*, parsed_args: argparse.Namespace, **_rest: object) -> list[str]:
    return list(spec_files(find_project(parsed_args.project), Cache.from_environment()))
