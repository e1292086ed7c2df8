"""`doctor`: checks that this machine has what the commands need."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from comfy_files.progress import when_slow
from comfy_files.user_paths import expanded
from runpod_comfy.cli.options import Subparsers, add_command
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.upkeep.doctor import Answer

_EXAMPLES = """\
  runpod-comfy doctor
  runpod-comfy doctor --json
"""
_WORDS = {"ok": "ok", "missing": "MISSING", "optional": "none", "warning": "warn"}


def add_parser(commands: Subparsers) -> None:
    add_command(
        commands,
        "doctor",
        run=_run,
        summary="Check that this machine has everything the commands need; each line says ok or "
        "what to do.",
        details="Exit 3 if something required is missing. Docker and a GPU are not required.",
        examples=_EXAMPLES,
    )


def _run(_arguments: argparse.Namespace, console: Console) -> int:
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
    line = f"{_WORDS[answer.state]:<8} {answer.name:<18} {answer.found}"
    return f"{line}\n{'':<28}→ {answer.remedy}" if answer.remedy else line
