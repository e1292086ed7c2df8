"""The commands `models sync` and `models verify`: a version's models in a folder, such as that of
the volume that serverless workers read.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from comfy_errors import ComfyError
from comfy_errors.names import quantity
from comfy_files.arrivals import arrivals
from comfy_files.progress import Progress, Say, StatusLine, readable_size
from comfy_models.proof import Proof, ProvenModel, State
from rp_handler.errors import reportable
from rp_handler.home.open import baked_version_id, opened_for_models
from rp_handler.run_request import make_request

_EXAMPLES = """\
examples, on a pod whose volume is mounted at /workspace:
  python -m rp_handler.main models sync
  python -m rp_handler.main models verify --rehash

exit codes: 0 every model is there, 3 one could not be reached, 4 one is missing or wrong
"""


@dataclass(frozen=True, kw_only=True)
class ModelsResult:
    """`lines` for standard output, `summary` for standard error; `error` if something is wrong."""

    lines: list[str]
    summary: str
    error: ComfyError | None


def perform(options: argparse.Namespace, line: StatusLine) -> ModelsResult:
    """Carries out a command that `parse` read. Shows progress on `line`, and prints nothing."""
    proof: Proof | None = None
    try:
        with arrivals(line) as (say, progress):
            proof = _proof(options, say, progress)
        error = proof.error
    except (ComfyError, OSError) as failure:
        error = reportable(failure)
    models = proof.models if proof is not None else ()
    counts = Counter[str](model.state for model in models)
    if options.json:
        lines = [json.dumps(_document(models, counts, error), indent=2, ensure_ascii=False)]
    else:
        lines = _table(models, verbose=options.verbose)
    states = ", ".join(f"{count} {state}" for state, count in counts.items()) or "none needed"
    summary = f"{quantity(len(models), 'model')}: {states}" if proof is not None else ""
    return ModelsResult(lines=lines, summary=summary, error=error)


def _proof(options: argparse.Namespace, say: Say, progress: Progress) -> Proof:
    # Imported late: `--help` needs no more than the standard library.
    from rp_handler.home.proven_models import ModelsJob, sync_models, verify_models
    from rp_handler.home.supply import hosts_here

    request = make_request(
        os.environ,
        version_id=options.version_id,
        home=options.home,
        models_dir=options.models_dir,
        worker=True,
        image_id=baked_version_id(os.environ),
    )
    home, search = opened_for_models(request, os.environ, say=say)
    job = ModelsJob(home=home, search=search, rehash=options.rehash, say=say, progress=progress)
    if options.command == "verify":
        return verify_models(job)
    hosts = hosts_here(os.environ, say, timeout_s=options.timeout)
    return sync_models(job, hosts, overwrite=options.overwrite)


def _table(models: Sequence[ProvenModel], *, verbose: bool) -> list[str]:
    """A line for each model; if `verbose`, with its path and sha256."""
    lines = []
    width = max((len(one.model.target_path) for one in models), default=0)
    for one in models:
        where = f"  {one.path}  sha256:{one.model.sha256}" if verbose else ""
        linked = "  linked" if one.linked else ""
        size = readable_size(one.model.size)
        lines.append(f"{one.state:<10}  {one.model.target_path:<{width}}  {size:>8}{linked}{where}")
    return lines


def _document(
    models: Sequence[ProvenModel], counts: Counter[str], error: ComfyError | None
) -> dict[str, Any]:
    return {
        "holds": error is None,
        "counts": {state: counts[state] for state in get_args(State)},
        "models": [
            {
                "target_path": one.model.target_path,
                "sha256": one.model.sha256,
                "size": one.model.size,
                "state": one.state,
                "path": str(one.path),
                "linked": one.linked,
                "reason": one.reason,
            }
            for one in models
        ],
        "error": error.message if error is not None else None,
        "remedy": error.remedy if error is not None else None,
    }


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options in `arguments`, those after `models`. Exits for `--help` and a wrong option."""
    parser = argparse.ArgumentParser(
        prog="python -m rp_handler.main models",
        description="Verify the models of a version where a worker finds them, or bring them into "
        "a models folder, such as that of a network volume.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True
    )
    sync = commands.add_parser("sync", help="bring into the folder what it lacks")
    verify = commands.add_parser("verify", help="say whether all are there, and change nothing")
    for command in (sync, verify):
        add = command.add_argument
        add("--version-id", metavar="ID", help="the version (COMFY_VERSION_NAME, then demo)")
        add("--home", type=Path, help="where it is realized (COMFY_HOME, the image's, ~/comfy-ID)")
        add(
            "--models-dir",
            type=Path,
            metavar="DIR",
            help="the folder (MODELS_DIR, then models/ of the volume, then HOME/models)",
        )
        add("--rehash", action="store_true", help="read every byte again")
        add("--json", action="store_true", help="print one JSON document")
        add("--verbose", action="store_true", help="say where each model is, and its sha256")
    add = sync.add_argument
    add("--overwrite", action="store_true", help="replace other files in the places of models")
    add(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help="give up a server that sends nothing for so long (120)",
    )
    return parser.parse_args(arguments)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("it must be a number of seconds above 0")
    return seconds
