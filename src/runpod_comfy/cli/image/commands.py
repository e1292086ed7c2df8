"""`image`: a version as a container image. Its commands `build`, `dockerfile`, `run` and `push`
are here, the others in the modules beside this one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rp_handler.run_request import DEFAULT_OUTPUT_MODE, PROVENANCE_HELP, output_help, seconds
from runpod_comfy.cli.image import base, show, verify
from runpod_comfy.cli.image.options import (
    add_build_options,
    add_image_version,
    add_named_version,
    build_options,
    selected_lock,
)
from runpod_comfy.cli.options import (
    Subparsers,
    add_command,
    add_group,
    add_version,
    given,
    named_version,
)
from runpod_comfy.cli.show.console import Console

_EXAMPLES = """\
  runpod-comfy image build demo
  runpod-comfy image dockerfile demo
  runpod-comfy image push demo --registry ghcr.io/me
  runpod-comfy image base
"""
_BUILD_EXAMPLES = """\
  runpod-comfy image build demo
  runpod-comfy image build --version demo --tag registry.example.org/me/comfy:1 --base cuda
  runpod-comfy image build demo --base runpod-comfy-base:local
"""
_DOCKERFILE_EXAMPLES = """\
  runpod-comfy image dockerfile demo
  runpod-comfy image dockerfile --version demo --base cuda-devel
"""
_RUN_EXAMPLES = """\
  runpod-comfy image run demo --workflow workflows/example.json
  runpod-comfy image run demo --workflow workflows/minimal.json --output base64
  runpod-comfy image run demo --workflow workflows/example.json --output gcs --verbose
"""
_PUSH_EXAMPLES = """\
  runpod-comfy image push demo --registry ghcr.io/me
  runpod-comfy image push --tag ghcr.io/me/comfy:1
"""


def add_parser(commands: Subparsers) -> None:
    summary = "Build a version's container image; run, show, verify and push it."
    actions = add_group(commands, "image", summary=summary, examples=_EXAMPLES)
    _add_build(actions)
    _add_dockerfile(actions)
    _add_run(actions)
    show.add_parser(actions)
    _add_push(actions)
    verify.add_parser(actions)
    base.add_parser(actions)


def _add_build(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "build",
        run=_build,
        summary="Build the image of a version, layer by layer, as `realize` makes a home.",
        details="It is tagged runpod-comfy:<id> and runpod-comfy:<id>-<digest of the lock>.",
        examples=_BUILD_EXAMPLES,
    )
    add_image_version(parser)
    parser.add_argument("--tag", metavar="TAG", help="instead of runpod-comfy:<id>")
    parser.add_argument("--no-cache", action="store_true", help="run every layer again")
    add_build_options(parser)


def _add_dockerfile(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "dockerfile",
        run=_dockerfile,
        summary="Print the Dockerfile of a version. Needs no engine.",
        details="Its build context is made by `image build`.",
        examples=_DOCKERFILE_EXAMPLES,
    )
    add_image_version(parser)


def _build(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.images import build_image
    from runpod_comfy.cli.show.images import BuildDisplay

    built = build_image(
        named_version(arguments),
        **build_options(arguments, console),
        **given(arguments, "tag", "no_cache"),
        show=BuildDisplay(console.status_line(), verbose=console.verbose),
    )
    console.result(f"{built.tags[0]}  {built.image}", built)
    return 0


def _dockerfile(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.images import platform_name
    from runpod_comfy.images.base.catalogue import find_base
    from runpod_comfy.images.plan import make_build_plan

    lock = selected_lock(arguments, console).lock
    base = find_base(lock, asked=arguments.base)
    build_plan = make_build_plan(lock, base, platform=platform_name(arguments.platform))
    document = {
        "version_id": lock.version_id,
        "lock_digest": lock.digest,
        "base": base.reference,
        "platform": build_plan.plan.platform,
        "layers": [{"name": step.name, "key": step.key} for step in build_plan.steps],
        "dockerfile": build_plan.text,
    }
    console.result(build_plan.text.rstrip("\n"), document)
    return 0


def _add_run(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "run",
        run=_run_workflow,
        summary="Run a workflow in a container of a version's image.",
        details="The container sees the workflow, the model store and the outputs folder, and "
        "can only write to the last. Models that are not in the store are fetched first.",
        examples=_RUN_EXAMPLES,
    )
    add_version(parser)
    add = parser.add_argument
    add("--workflow", type=Path, metavar="FILE", required=True, help="a graph in the API format")
    add("--output", metavar="MODE", help=output_help(DEFAULT_OUTPUT_MODE))
    add("--output-dir", type=Path, metavar="DIR", help="where --output files writes (outputs)")
    add(
        "--models-dir",
        type=Path,
        metavar="DIR",
        help="models folder besides the store (MODELS_DIR)",
    )
    add(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="how long the workflow may run (no limit)",
    )
    add("--provenance", action="store_true", help=PROVENANCE_HELP)
    add("--image", metavar="IMAGE", help="default: runpod-comfy:<id>")


def _run_workflow(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.images import run_image

    options = ("workflow", "output", "output_dir", "models_dir", "image", "spec", "project")
    return run_image(
        named_version(arguments),
        **given(arguments, *options, "as_json", "verbose", "provenance"),
        timeout_s=arguments.timeout,
        out=sys.stdout.buffer,
        err=sys.stderr.buffer,
        say=console.say,
        explain=console.explain,
    )


def _add_push(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "push",
        run=_push,
        summary="Push the image of a version to a registry.",
        details="Its names there are REGISTRY/runpod-comfy:<id> and "
        "REGISTRY/runpod-comfy:<id>-<digest of the lock>.\n"
        "The login is that of `docker login`. Layers that the registry has are not sent again.",
        examples=_PUSH_EXAMPLES,
    )
    add_named_version(parser)
    add = parser.add_argument
    add(
        "--registry",
        metavar="REGISTRY",
        help="registry and account, such as ghcr.io/me; default: the one in the tag",
    )
    add(
        "--tag",
        metavar="TAG",
        help="the tag that the image was built with; default runpod-comfy:<id>",
    )


def _push(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.images import push
    from runpod_comfy.cli.show.images import PushDisplay

    line = console.status_line()
    try:
        records = push(
            named_version(arguments),
            **given(arguments, "registry", "tag", "spec", "project"),
            say=line.say,
            explain=console.explain,
            show=PushDisplay(line),
        )
    finally:
        line.clear()
    text = "\n".join(f"{each.pushed.reference}  {each.pushed.digest}" for each in records)
    console.result(text, {"pushed": [record.document() for record in records]})
    return 0
