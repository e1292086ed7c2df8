"""`image push`: sends a built image to a registry, under the names that others find it by."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_errors import ComfyError
from runpod_comfy.cli.select.options import add_command, add_json, add_version
from runpod_comfy.cli.select.workspace import version_id_of
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.cli.select.options import Subparsers
    from runpod_comfy.images.built import BuiltImage

_EXAMPLES = """\
  runpod-comfy image push demo --registry ghcr.io/me
  runpod-comfy image push --tag ghcr.io/me/comfy:1
"""


def add_parser(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "push",
        run=_push,
        summary="Push the image of a version to a registry.",
        details="It goes there as REGISTRY/runpod-comfy:<id> and as "
        "REGISTRY/runpod-comfy:<id>-<digest of the lock>.\n"
        "The login is that of `docker login`. What the registry has is not sent again.",
        examples=_EXAMPLES,
    )
    add_version(parser)
    parser.add_argument("--version", dest="version_id", metavar="ID", help="the same as above")
    parser.add_argument(
        "--registry",
        metavar="REGISTRY",
        help="where to, with the account there: ghcr.io/me; default: what the tag names",
    )
    parser.add_argument(
        "--tag", metavar="TAG", help="the image as it was built; default runpod-comfy:<id>"
    )
    add_json(parser)


def _push(arguments: argparse.Namespace) -> int:
    from runpod_comfy.cache.paths import Cache
    from runpod_comfy.cache.use import using
    from runpod_comfy.cli.show.push import push_display
    from runpod_comfy.images.built import find_built
    from runpod_comfy.images.docker.connection import connect
    from runpod_comfy.images.registry.names import DEFAULT_REPOSITORY, pushed_names
    from runpod_comfy.images.registry.push import push, tag_image
    from runpod_comfy.images.registry.pushed import PushRecord, record_push

    console = Console(as_json=arguments.as_json, verbose=arguments.verbose)
    cache = Cache.from_environment()
    version_id = version_id_of(arguments.version, arguments.version_id)
    client = connect()
    built = find_built(client, arguments.tag or f"{DEFAULT_REPOSITORY}:{version_id}")
    names = pushed_names(
        built.reference,
        arguments.registry,
        version_id=built.version_id,
        lock_digest=built.lock_digest,
    )
    _warn_of_another_lock(built, arguments.spec, console)
    records = []
    for name in names:
        console.say(f"Pushing {name}")
        tag_image(client, built.image_id, name)
        with push_display(console) as show:
            pushed = push(client, name, show=show)
        record = PushRecord(
            pushed=pushed,
            version_id=built.version_id,
            lock_digest=built.lock_digest,
            image_id=built.image_id,
        )
        with using(cache, console.say):
            console.explain(f"Recorded in {record_push(cache, record)}")
        records.append(record)
    text = "\n".join(f"{each.pushed.reference}  {each.pushed.digest}" for each in records)
    console.result(text, {"pushed": [record.document() for record in records]})
    return 0


def _warn_of_another_lock(built: BuiltImage, spec: Path | None, console: Console) -> None:
    """An image may be older than the lock that lies here; what was asked for is pushed anyway."""
    from runpod_comfy.cli.select.version import select

    try:
        lock = select(
            version_id=built.version_id, spec=spec, lock=None, offline=True, console=console
        ).lock
    except ComfyError as error:
        console.explain(f"Not compared with a lock: {error.message}")
        return
    if lock.digest != built.lock_digest:
        console.say(
            f"Warning: {built.reference} was built from another lock than that of "
            f"{built.version_id} now; `runpod-comfy image build {built.version_id}` makes it anew"
        )
