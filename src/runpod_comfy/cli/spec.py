"""`create`, `add-node`, `add-model` and `override`, which write and edit a version's spec file, and
`list`, which shows the versions of a project.
"""

from __future__ import annotations

import argparse
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from runpod_comfy.cli.options import Subparsers, add_command, add_version, given, named_version
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.api.edits import Edited
    from runpod_comfy.api.listing import ListedVersion

_NODE_EXAMPLES = """\
  runpod-comfy add-node mine https://github.com/somebody/a-node@main
  runpod-comfy add-node mine comfy://node-id@1.2.3 --name a-node
  runpod-comfy add-node mine https://github.com/somebody/nodes@v2#subdir=packs/one
  runpod-comfy add-node mine ../my-node
"""
_MODEL_EXAMPLES = """\
  runpod-comfy add-model mine models/x.safetensors --target-subdir checkpoints --auto-checksum
  runpod-comfy add-model mine '{"source": "https://example.com/x.safetensors",
    "target_subdir": "loras", "checksum": "sha256:…", "size": 1234}'
  runpod-comfy add-model mine models.json
"""
_OVERRIDE_EXAMPLES = """\
  runpod-comfy override mine 'numpy==1.26.4'
  runpod-comfy override mine "some-package ; python_version < '3'"   # leaves it out
"""
_KEEPS = "Everything else in the file is kept as it is written."
_CREATE_EXAMPLES = """\
  runpod-comfy create mine --repo https://github.com/comfyanonymous/ComfyUI@v0.3.75
  runpod-comfy create mine --repo URL@main --nodes URL@main --nodes node.json \\
    --models '{"source": "file:///models/x.safetensors", "target_subdir": "checkpoints"}'
"""
_LIST_EXAMPLES = """\
  runpod-comfy list
  runpod-comfy list --project ~/pictures --json
"""


def add_parser(commands: Subparsers) -> None:
    _add_create_parser(commands)
    _add_node_parser(commands)
    _add_model_parser(commands)
    _add_override_parser(commands)
    _add_list_parser(commands)


def _add_node_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "add-node",
        run=_add_node,
        summary="Add a custom node to versions/<id>.json.",
        details=f"Its ref is resolved to its current commit. {_KEEPS}",
        examples=_NODE_EXAMPLES,
    )
    add_version(parser)
    add = parser.add_argument
    add("node", metavar="NODE", help="URL[@REF][#subdir=DIR], a path, a JSON object or file")
    add("--name", help="the node's folder in custom_nodes; default: the repository's name")


def _add_model_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "add-model",
        run=_add_model,
        summary="Add a model to versions/<id>.json.",
        details=_KEEPS,
        examples=_MODEL_EXAMPLES,
    )
    add_version(parser)
    add = parser.add_argument
    add("model", metavar="MODEL", help="a URL or a path, a JSON object, or a JSON file")
    add("--target-subdir", metavar="DIR", help="where a URL or path goes, below the models folder")
    add("--target-node", metavar="NODE", help="the custom node in whose folder it goes instead")
    add("--name", help="the file's name there; default: the source's")
    add("--models-root", metavar="DIR", type=Path, help="folder with model files")
    add("--auto-checksum", action="store_true", help="compute sha256 of a model file found locally")


def _add_override_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "override",
        run=_override,
        summary="Set the version of a Python distribution, overriding what core and nodes ask for.",
        details="Puts it into options.overrides of versions/<id>.json, in place of another one of\n"
        f"the same distribution. {_KEEPS}",
        examples=_OVERRIDE_EXAMPLES,
    )
    add_version(parser)
    parser.add_argument("requirement", metavar="REQUIREMENT", help="such as 'numpy==1.26.4'")


def _add_node(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.edits import add_node

    edited = add_node(
        named_version(arguments),
        arguments.node,
        **given(arguments, "name", "spec", "project"),
        say=console.say,
    )
    for node in edited.added:
        at = " at ".join(node[key] for key in ("ref", "commit") if key in node)
        console.say(f"Added the custom node {node['name']}" + (f", {at}" if at else ""))
    return _report(edited, console)


def _add_model(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.edits import add_model

    options = ("name", "target_subdir", "target_node", "models_root", "auto_checksum")
    edited = add_model(
        named_version(arguments),
        arguments.model,
        **given(arguments, *options, "spec", "project"),
        say=console.say,
    )
    for model in edited.added:
        node = f" of the node {model['target_node']}" if "target_node" in model else ""
        console.say(f"Added the model {model['target_path']}{node}")
    return _report(edited, console)


def _override(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.edits import override

    edited = override(
        named_version(arguments),
        arguments.requirement,
        **given(arguments, "spec", "project"),
        say=console.say,
    )
    if not edited.written:
        console.say(f"{edited.path} already has this content")
    elif edited.replaced:
        console.say(
            f"Replaced the override {', '.join(edited.replaced)} with {arguments.requirement}"
        )
    else:
        console.say(f"Added the override {arguments.requirement}")
    return _report(edited, console)


def _report(edited: Edited, console: Console) -> int:
    if edited.written:
        console.say(f"Pin it with: runpod-comfy resolve {edited.version_id}")
    console.result(str(edited.path), edited)
    return 0


def _add_create_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "create",
        run=_create,
        summary="Write versions/<id>.json: this core, these nodes, these models.",
        details="Every ref is resolved to its current commit.",
        examples=_CREATE_EXAMPLES,
    )
    add = parser.add_argument
    add("version_id", metavar="ID", help="id of the new version")
    add("--repo", metavar="URL[@REF]", required=True, help="the ComfyUI core: a URL or a path")
    add(
        "--nodes",
        metavar="NODE",
        action="append",
        default=[],
        help="a custom node: URL[@REF], a JSON object, or a JSON file (repeatable)",
    )
    add(
        "--models",
        metavar="MODEL",
        action="append",
        default=[],
        help="a model: a JSON object, or a JSON file with a list (repeatable)",
    )
    add("--models-root", metavar="DIR", type=Path, help="folder with model files")
    add("--auto-checksum", action="store_true", help="compute sha256 of model files found locally")
    add("--output", metavar="FILE", type=Path, help="default: versions/<id>.json")
    add("--force", action="store_true", help="replace an existing, different spec")


def _create(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.versions import create

    options = ("repo", "nodes", "models", "models_root", "auto_checksum", "output", "force")
    created = create(arguments.version_id, **given(arguments, *options, "project"), say=console.say)
    path = created.path
    console.say(f"Wrote {path}" if created.written else f"{path} already has this content")
    console.result(str(path), created)
    return 0


def _add_list_parser(commands: Subparsers) -> None:
    add_command(
        commands,
        "list",
        run=_list,
        summary="List the versions of the project, with their locks, homes and images.",
        details="A lock is outdated if the spec has changed since, a home or an image if it was\n"
        "made from another lock, and unknown without a lock to compare with. Versions from\n"
        "loaded bundles are listed too. Images are listed if a Docker engine answers.",
        examples=_LIST_EXAMPLES,
    )


def _list(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.listing import list_versions
    from runpod_comfy.api.workspace import find_project

    project = find_project(arguments.project)
    versions = list_versions(project, explain=console.explain)
    for version in versions:
        if version.error:
            console.say(f"Warning: {version.error.splitlines()[0].removesuffix(':')}")
    if not versions:
        console.say(f"There are no versions in {project / 'versions'}")
        console.say("  → Write one with: runpod-comfy create ID --repo URL@REF")
    console.result(_table(versions), {"project": project, "versions": versions})
    return 0


def _table(versions: list[ListedVersion]) -> str:
    """One line per version, and more if it has several homes or images."""
    if not versions:
        return ""
    has_engine = versions[0].images is not None
    rows = [("VERSION", "LOCK", "HOME", "IMAGE")]
    for version in versions:
        name = version.version_id + (" (bundle)" if version.is_bundled else "")
        homes = [_with_state(str(home.path), home.state) for home in version.homes]
        images = [
            _with_state(image.tags[0], version.state_of(image)) for image in version.images or ()
        ]
        (home, image), *more = zip_longest(homes or ["-"], images or ["-"], fillvalue="")
        rows += [(name, version.lock, home, image), *(("", "", *each) for each in more)]
    shown = [row if has_engine else row[:-1] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in shown
    )


def _with_state(name: str, state: str) -> str:
    return name if state == "ready" else f"{name} ({state})"
