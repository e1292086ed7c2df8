"""`image show`: the layers of an image, and what a build would do again."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from comfy_files.progress import readable_size
from runpod_comfy.cli.image.options import add_image_version, selected_lock
from runpod_comfy.cli.options import Subparsers, add_command, given
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.images.show import Redone, ShownImage

_EXAMPLES = """\
  runpod-comfy image show demo
  runpod-comfy image show demo --change node:marbled_paper
  runpod-comfy image show demo --image registry.example.org/me/comfy:1 --json
"""
_SHORT = 12
_FATES = {
    "kept": "as it is",
    "same": "runs again, with the same result",
    "new": "runs again, and is pushed again",
}


def add_parser(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "show",
        run=_show,
        summary="Show the layers of a version's image, and what a build would do again.",
        details="Without --change: for what has changed in the lock since the image was built.\n"
        "Without --base: on its current base.",
        examples=_EXAMPLES,
    )
    add_image_version(parser)
    add = parser.add_argument
    add("--image", metavar="IMAGE", help="default: runpod-comfy:<id>")
    add(
        "--change",
        metavar="LAYER",
        action="append",
        default=[],
        help="assume that this layer changed: core, torch, wheels, handler, node:NAME, …; "
        "repeatable",
    )


def _show(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.images import platform_name
    from runpod_comfy.images.base.catalogue import BaseImage, find_base
    from runpod_comfy.images.build import image_tags
    from runpod_comfy.images.docker.connection import connect
    from runpod_comfy.images.plan import make_build_plan
    from runpod_comfy.images.show import find_built, redone_after, redone_now, show_image

    client = connect()
    lock = selected_lock(arguments, console).lock
    reference = arguments.image or image_tags(lock)[0]
    # Refuses an image that this program did not build.
    find_built(client, reference)
    image = show_image(client, reference)
    base = find_base(lock, asked=arguments.base)
    if arguments.base is None and image.base not in (None, base.image):
        base = BaseImage(image=image.base)
    steps = make_build_plan(lock, base, platform=platform_name(arguments.platform)).steps
    redone = (
        redone_after(steps, arguments.change)
        if arguments.change
        else redone_now(steps, image, base=base.image)
    )
    lines = [*_image_lines(image, lock.digest), "", *_redone_lines(redone)]
    document = {
        "image": image.image_id,
        "version_lock_digest": lock.digest,
        **given(image, "tags", "lock_digest", "size_bytes", "base", "cuda", "layers"),
        "not_imported": {name: node.model_dump() for name, node in image.not_imported.items()},
        "changes": arguments.change,
        "build": redone,
    }
    console.result("\n".join(lines), document)
    return 0


def _image_lines(image: ShownImage, lock_digest: str) -> list[str]:
    same = image.lock_digest == lock_digest
    digest = image.lock_digest or "unknown"
    width = max((len(layer.name) for layer in image.layers), default=0)
    return [
        f"image  {image.image_id}",
        *(f"tag    {tag}" for tag in image.tags),
        f"lock   {digest}{'' if same else ', not the current one'}",
        f"base   {image.base or 'unknown'}",
        f"cuda   {image.cuda or 'none'}",
        f"size   {readable_size(image.size_bytes)}",
        *(f"note   {node.in_words(name)}" for name, node in image.not_imported.items()),
        "",
        *(
            f"{layer.name:<{width}}  {readable_size(layer.size_bytes):>10}  {_short(layer.key)}"
            for layer in image.layers
        ),
    ]


def _redone_lines(redone: list[Redone]) -> list[str]:
    if all(each.fate == "kept" for each in redone):
        return ["A build would not run any step again."]
    width = max(len(each.name) for each in redone)
    return [
        "A build would do the following:",
        *(f"{each.name:<{width}}  {_FATES[each.fate]}" for each in redone),
    ]


def _short(key: str | None) -> str:
    return key.removeprefix("sha256:")[:_SHORT] if key else ""
