"""`resolve`: writes the lock of a version, upgrades its pins, or checks for drift."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from comfy_errors import InvalidInputError
from comfy_errors.names import listed, quantity
from comfy_files.progress import when_slow
from runpod_comfy.cli.options import Subparsers, add_command, add_version, given, named_version
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.lock.drift.check import Drift

MOVED = 4
UNREACHABLE = 3

_EVERYTHING = object()
_NAMED_AT_MOST = 5

_EXAMPLES = """\
  runpod-comfy resolve demo
  runpod-comfy resolve demo --check                 # has anything changed? (read-only)
  runpod-comfy resolve demo --upgrade               # everything to its newest
  runpod-comfy resolve demo --upgrade numpy --upgrade my-node
  runpod-comfy resolve demo --upgrade core          # also: torch, the name of a model
  runpod-comfy resolve demo --hash-models           # download models without a known sha256
  runpod-comfy resolve --spec versions/demo.json --offline
"""


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "resolve",
        run=_run,
        summary="Pin every byte of a version: write lockfiles/comfy-<id>.lock.json.",
        details="Existing pins and hashes are kept: resolving twice gives identical bytes.\n"
        "--upgrade releases all of them, or only NAME: 'core', a custom node, a distribution,\n"
        "'torch' with its family, or a model. The commit beside a branch in the spec file\n"
        "changes too. Tags, full commits and versions are kept.\n"
        "--check looks for pins that are gone, yanked or changed. It exits with 4 if there are\n"
        "any, and with 3 if a source could not be reached.",
        examples=_EXAMPLES,
    )
    add_version(parser)
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument(
        "--upgrade",
        metavar="NAME",
        nargs="?",
        const=_EVERYTHING,
        action="append",
        default=[],
        help="release the pin of NAME and use the newest; without NAME, all pins (repeatable)",
    )
    modes.add_argument(
        "--check", action="store_true", help="only report what changed since the lock was made"
    )
    parser.add_argument(
        "--hash-models",
        action="store_true",
        help="download the models whose sha256 no host reports, to complete the lock",
    )
    parser.add_argument("--offline", action="store_true", help="use the caches only")


def _run(arguments: argparse.Namespace, console: Console) -> int:
    version_id = named_version(arguments)
    if arguments.check and arguments.hash_models:
        raise InvalidInputError(
            "--check changes nothing, and --hash-models completes the lock",
            remedy="Leave out one of the two.",
        )
    if arguments.check:
        return _check(version_id, arguments, console)
    for option, is_asked in (
        ("upgrade", arguments.upgrade),
        ("hash-models", arguments.hash_models),
    ):
        if is_asked and arguments.offline:
            raise InvalidInputError(
                f"--{option} needs network access, which --offline turns off",
                remedy="Leave out one of the two.",
            )
    return _resolve(version_id, arguments, console)


def _resolve(version_id: str | None, arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.versions import resolve
    from runpod_comfy.cli.show.lock_changes import change_lines

    with console.arrivals() as (say, progress):
        resolved = resolve(
            version_id,
            **given(arguments, "spec", "offline", "hash_models", "project"),
            upgrade=None if _EVERYTHING in arguments.upgrade else arguments.upgrade,
            say=say,
            progress=progress,
        )
    lock = resolved.lock
    for line in change_lines(resolved.changes):
        console.say(line)
    if arguments.upgrade and resolved.previous is not None and not resolved.changes:
        console.say("Nothing newer was found")
    console.say(
        f"{lock.version_id}: core, {quantity(len(lock.custom_nodes), 'custom node')}, "
        f"{quantity(len(lock.python.distributions), 'Python distribution')}, "
        f"{quantity(len(lock.models) + len(lock.unhashed_models), 'model')}"
    )
    if lock.unhashed_models:
        names = listed([model.name for model in lock.unhashed_models], at_most=_NAMED_AT_MOST)
        them = "it" if len(lock.unhashed_models) == 1 else "them"
        console.say(
            f"No host reports the sha256 of {names}. The first realize or verify-models downloads "
            f"{them} to complete the lock, or: runpod-comfy resolve {lock.version_id} --hash-models"
        )
    document = {
        "version_id": lock.version_id,
        "path": resolved.path,
        "digest": lock.digest,
        "changes": resolved.changes,
        "spec_changes": resolved.moved,
        "unhashed_models": [model.name for model in lock.unhashed_models],
    }
    console.result(f"{resolved.path} {lock.digest}", document)
    return 0


def _check(version_id: str | None, arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.versions import fetch_context_for, read_spec
    from runpod_comfy.lock.drift.check import look_for_drift
    from runpod_comfy.lock.store import last_lock

    loaded = read_spec(version_id, arguments.spec, arguments.project)
    fetch_context = fetch_context_for(
        loaded.path.parent, offline=arguments.offline, say=console.say
    )
    lock, path = last_lock(loaded, fetch_context.cache)
    console.explain(f"Lock: {path}")
    with when_slow(console.say, "Checking the sources and the package index for changes"):
        drift = look_for_drift(loaded, lock, fetch_context)
    document = {"version_id": lock.version_id, "path": path, "digest": lock.digest}
    console.result("\n".join(_lines(drift)), {**document, **vars(drift)})
    console.say(_summary(drift, lock.version_id))
    if drift.moved:
        return MOVED
    return UNREACHABLE if drift.unanswered else 0


def _lines(drift: Drift) -> list[str]:
    lines = []
    for finding in drift.moved:
        lines += [f"changed: {finding.message}", f"  → {finding.remedy}"]
    # One unreachable server leaves many pins unchecked.
    for message, remedy in dict.fromkeys((each.message, each.remedy) for each in drift.unanswered):
        names = [finding.name for finding in drift.unanswered if finding.message == message]
        lines.append(f"not checked: {listed(names, at_most=_NAMED_AT_MOST)}: {message}")
        lines.append(f"  → {remedy}")
    return lines


def _summary(drift: Drift, version_id: str) -> str:
    counts = [f"{quantity(drift.looked_at, 'pin')} checked", f"{len(drift.moved)} changed"]
    if drift.unanswered:
        counts.append(f"{len(drift.unanswered)} could not be checked")
    if drift.not_looked_at:
        counts.append(f"skipped: {', '.join(drift.not_looked_at)}")
    return f"{version_id}: " + "; ".join(counts)
