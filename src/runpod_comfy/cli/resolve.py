"""`resolve`: writes the lock of a version."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from runpod_comfy.cli.console import Console
from runpod_comfy.cli.options import add_command, add_json, add_version

if TYPE_CHECKING:
    from runpod_comfy.cli.options import Subparsers

_EXAMPLES = """\
  runpod-comfy resolve demo
  runpod-comfy resolve --spec versions/demo.json --upgrade
"""


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "resolve",
        run=_run,
        summary="Pin every byte of a version: write lockfiles/comfy-<id>.lock.json.",
        details="Existing pins and hashes are kept: resolving twice gives identical bytes.",
        examples=_EXAMPLES,
    )
    add_version(parser)
    parser.add_argument(
        "--upgrade", action="store_true", help="forget existing pins and take what is newest"
    )
    parser.add_argument("--offline", action="store_true", help="use the caches only")
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    from runpod_comfy.cli.version import read_spec, resolve_and_write, version_id_of
    from runpod_comfy.lock.store import committed_lock_path

    console = Console(as_json=arguments.as_json, verbose=arguments.verbose)
    version_id = version_id_of(arguments.version, arguments.version_id)
    loaded = read_spec(version_id, arguments.spec)
    lock = resolve_and_write(
        loaded, console, offline=arguments.offline, keep_pins=not arguments.upgrade
    )
    path = committed_lock_path(loaded.path, lock.version_id)
    distributions = [*lock.python.torch, *lock.python.wheels]
    console.say(
        f"{lock.version_id}: core, {len(lock.custom_nodes)} custom nodes, "
        f"{len(distributions)} Python distributions, {len(lock.models)} models"
    )
    document = {"version_id": lock.version_id, "path": str(path), "digest": lock.digest}
    console.result(f"{path} {lock.digest}", document)
    return 0
