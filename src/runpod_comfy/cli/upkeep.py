"""`gc` and `doctor`: free the space of what nothing needs any more, and check this machine."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from typing import TYPE_CHECKING

from comfy_errors.names import quantity
from comfy_files.progress import readable_size, when_slow
from comfy_files.user_paths import expanded
from runpod_comfy.cli.options import Subparsers, add_command
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.upkeep.doctor import Answer
    from runpod_comfy.upkeep.gc import Clearing

_GC_EXAMPLES = """\
  runpod-comfy gc --dry-run
  runpod-comfy gc
"""
_DOCTOR_EXAMPLES = """\
  runpod-comfy doctor
  runpod-comfy doctor --json
"""
_STATES = {"ok": "ok", "missing": "MISSING", "optional": "none", "warning": "warn"}


def add_parser(commands: Subparsers) -> None:
    _add_gc(commands)
    _add_doctor(commands)


def _add_gc(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "gc",
        run=_gc,
        summary="Remove from the cache what no lock and no realized version needs.",
        details="A lock or home whose path is gone is still counted for 7 days.",
        examples=_GC_EXAMPLES,
    )
    add = parser.add_argument
    add("--dry-run", action="store_true", help="show what would be freed, and change nothing")
    add(
        "--models",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="clear the model store too; default: unless COMFY_CACHE_MODELS is elsewhere, where "
        "other machines may use it",
    )


def _gc(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.cache.paths import Cache
    from runpod_comfy.upkeep.gc import clear_cache

    clearing = clear_cache(
        Cache.from_environment(),
        dry_run=arguments.dry_run,
        models=arguments.models,
        say=console.say,
    )
    for remark in clearing.remarks:
        console.say(f"Note: {remark}")
    for path in clearing.unknown:
        console.say(f"Left alone, not made by this program: {path}")
    for entry in clearing.removed:
        console.explain(f"{entry.kind} {entry.path}  {readable_size(entry.freed_bytes)}")
    console.result(_text(clearing), _document(clearing))
    return 0


def _text(clearing: Clearing) -> str:
    counts = Counter(entry.kind for entry in clearing.removed)
    lines = []
    for kind, count in counts.items():
        size = sum(entry.freed_bytes for entry in clearing.removed if entry.kind == kind)
        number, noun = quantity(count, "entry", "entries").split()
        lines.append(f"{kind:<15} {number:>6} {noun:<7} {readable_size(size):>10}")
    if clearing.commits:
        lines.append(f"{'git commit':<15} {clearing.commits:>6}")
    lines += [f"{root.path} is gone and no longer counted" for root in clearing.dropped]
    total = readable_size(clearing.freed_bytes)
    end = f"{total} would be freed; nothing was changed" if clearing.dry_run else f"{total} freed"
    return "\n".join([*lines, end, *_kept_lines(clearing)])


def _kept_lines(clearing: Clearing) -> list[str]:
    """The roots that need the rest, if that is most of the cache."""
    if not clearing.kept or clearing.freed_bytes >= clearing.kept[0].size_bytes:
        return []
    return [
        "The rest is needed by the following; shared entries are counted for each:",
        *(
            f"{readable_size(each.size_bytes):>10}  {each.root.noun:<13}  {each.root.path}"
            for each in clearing.kept
        ),
        "To free it, remove a version (runpod-comfy remove --target DIR) and delete its lock file.",
    ]


def _document(clearing: Clearing) -> dict[str, object]:
    return {
        "dry_run": clearing.dry_run,
        "freed_bytes": clearing.freed_bytes,
        "removed": clearing.removed,
        "commits": clearing.commits,
        "roots": [
            {
                "kind": each.root.kind,
                "path": each.root.path,
                "gone_since": each.root.gone_since,
                "kept_bytes": each.size_bytes,
            }
            for each in clearing.kept
        ],
        "dropped_roots": [root.path for root in clearing.dropped],
        "left_alone": clearing.unknown,
        "notes": clearing.remarks,
    }


def _add_doctor(commands: Subparsers) -> None:
    add_command(
        commands,
        "doctor",
        run=_doctor,
        summary="Check that this machine has everything the commands need; each line says ok or "
        "what to do.",
        details="Exit 3 if something required is missing. Docker and a GPU are not required.",
        examples=_DOCTOR_EXAMPLES,
    )


def _doctor(_arguments: argparse.Namespace, console: Console) -> int:
    from comfy_errors import UnavailableError
    from runpod_comfy.cache.paths import Cache
    from runpod_comfy.upkeep.doctor import examine, is_ready

    home = expanded(os.environ.get("COMFY_HOME") or "~").absolute()
    with when_slow(console.say, "Waiting for the package index or the Docker engine"):
        answers = examine(Cache.from_environment(), home, os.environ)
    ready = is_ready(answers)
    document = {"ready": ready, "checks": answers}
    console.result("\n".join(_line(answer) for answer in answers), document)
    return 0 if ready else UnavailableError.exit_code


def _line(answer: Answer) -> str:
    line = f"{_STATES[answer.state]:<8} {answer.name:<18} {answer.found}"
    return f"{line}\n{'':<28}→ {answer.remedy}" if answer.remedy else line
