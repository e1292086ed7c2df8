"""`realize`: makes a version on this machine, or shows what that would take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from comfy_errors import MismatchError
from comfy_files.sizes import readable_size
from runpod_comfy.cli.select.options import (
    add_command,
    add_json,
    add_realize_options,
    add_version,
)
from runpod_comfy.cli.select.unchanged import request_of, tell
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.cli.select.options import Subparsers
    from runpod_comfy.realize.prepare.estimate import Estimate
    from runpod_comfy.realize.run import Realization
    from runpod_comfy.realize.verify.home import Verification

_EXAMPLES = """\
  runpod-comfy realize demo
  runpod-comfy realize --version-id demo --dry-run
  runpod-comfy realize --version-id demo --target /runpod-volume/comfy-demo \\
    --models-dir /workspace/models --wheels-dir /workspace/wheels
"""


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "realize",
        run=_run,
        summary="Install a version here: ComfyUI, its nodes, its packages, its models.",
        details="Does nothing when all is there. Killed in the middle, it goes on from there.",
        examples=_EXAMPLES,
    )
    add_version(parser)
    add_realize_options(parser)
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument(
        "--dry-run", action="store_true", help="show what would be done, and touch nothing"
    )
    modes.add_argument(
        "--verify",
        action="store_true",
        help="compare every byte here and in the caches with the lock, and change nothing; "
        "exit 4 if something differs",
    )
    modes.add_argument(
        "--repair",
        action="store_true",
        help="verify, take away what differs, and make it again",
    )
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    console = Console(as_json=arguments.as_json, verbose=arguments.verbose)
    request = request_of(arguments)
    if request is not None and request.answer(console):
        return 0

    from runpod_comfy.cli.select.realization import realization_of, realize_visibly
    from runpod_comfy.realize.run import estimate_realize

    if arguments.verify:
        # A lock that is made now is none to compare with.
        arguments.offline = True
    realization = realization_of(arguments, console)
    if arguments.verify:
        return _verify(realization, console)
    if arguments.dry_run:
        estimate = estimate_realize(realization)
        console.result(_plan_text(realization, estimate), _plan_document(realization, estimate))
        return 0
    found = _repair(realization, console) if arguments.repair else None
    result = realize_visibly(realization, console)
    if request is not None:
        request.note(realization, result)
    tell(result.document(), console)
    return _tell_strangers(found, console) if found is not None else 0


def _verify(realization: Realization, console: Console) -> int:
    from runpod_comfy.realize.verify.home import verify

    found = verify(realization)
    _tell_faults(found, console)
    console.result("" if found.faults else _verified(found), found.document())
    if not found.faults:
        return 0
    count = len(found.faults)
    if count == len(found.strangers):
        return _tell_strangers(found, console)
    error = MismatchError(
        f"{realization.target} differs from its lock in {count} place{'s' * (count > 1)}",
        remedy="Mend it with the same command and --repair in place of --verify.",
    )
    console.say(error.in_words())
    return error.exit_code


def _repair(realization: Realization, console: Console) -> Verification:
    from runpod_comfy.realize.verify.home import take_away, verify

    found = verify(realization)
    _tell_faults(found, console)
    if found.faults:
        take_away(found, realization)
    else:
        console.say(_verified(found))
    return found


def _tell_strangers(found: Verification, console: Console) -> int:
    if not found.strangers:
        return 0
    names = ", ".join(map(str, found.strangers))
    error = MismatchError(
        f"not of this version, and left alone because somebody put it there: {names}",
        remedy="Take it away, or name it in the spec's custom_nodes, then resolve and realize.",
    )
    console.say(error.in_words())
    return error.exit_code


def _tell_faults(found: Verification, console: Console) -> None:
    for note in found.notes:
        console.say(f"Note: {note}")
    for fault in found.faults:
        console.say(
            f"{fault.part}: {fault.path}\n  expected {fault.expected}\n  found    {fault.found}"
        )


def _verified(found: Verification) -> str:
    size = readable_size(found.checked_bytes)
    return f"verified: {found.checked_files} files, {size}, in {found.seconds:.1f} s"


def _plan_text(realization: Realization, estimate: Estimate) -> str:
    lines = [f"{realization.lock.version_id} → {realization.target}"]
    if estimate.is_nothing:
        return "\n".join([*lines, "nothing to do"])
    lines += [f"keep   layer {name}" for name in estimate.kept_layers]
    lines += [f"fetch  {name}: {repo} at {commit}" for name, repo, commit in estimate.trees]
    missing = [file for file in estimate.packages if not file.cached]
    lines.append(
        f"fetch  {len(missing)} of {len(estimate.packages)} Python packages, "
        f"{readable_size(estimate.download_bytes)}"
    )
    lines += [
        f"fetch  model {model.name}: {model.source}, {readable_size(model.size)}"
        for model in estimate.models
    ]
    lines += [f"build  layer {name}" for name in estimate.layers]
    lines += [f"link   model {name}" for name in estimate.links]
    lines += [f"remove custom node {name}" for name in estimate.removed_nodes]
    total = estimate.download_bytes + estimate.model_bytes
    return "\n".join([*lines, f"{readable_size(total)} to fetch in all; nothing was touched"])


def _plan_document(realization: Realization, estimate: Estimate) -> dict[str, object]:
    return {
        "version_id": realization.lock.version_id,
        "lock_digest": realization.lock.digest,
        "target": str(realization.target),
        "layers": list(estimate.layers),
        "kept_layers": list(estimate.kept_layers),
        "trees": [
            {"layer": name, "repo": repo, "commit": commit} for name, repo, commit in estimate.trees
        ],
        "packages": [file.name for file in estimate.packages if not file.cached],
        "package_bytes": estimate.download_bytes,
        "models": [model.name for model in estimate.models],
        "model_bytes": estimate.model_bytes,
        "links": list(estimate.links),
        "removed_nodes": list(estimate.removed_nodes),
    }
