"""The commands `models sync` and `models verify`: a version's models in a folder, such as that of
the volume that serverless workers read.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_errors import ComfyError
from comfy_files.arrivals import arrivals
from comfy_files.progress import Progress, Say, StatusLine, readable_size
from rp_handler.errors import reportable
from rp_handler.home.open import baked_version_id, opened_for_models
from rp_handler.run_request import make_request

if TYPE_CHECKING:
    from comfy_models.proof import Proof, ProvenModel

_EXAMPLES = """\
examples, on a pod whose volume is mounted at /workspace:
  python -m rp_handler.main models sync
  python -m rp_handler.main models verify --rehash

exit codes: 0 every model is there, 3 one could not be reached, 4 one is missing or wrong
"""


@dataclass(frozen=True, kw_only=True)
class ModelsResult:
    """`lines` for standard output, and `error` if something does not hold."""

    lines: list[str]
    error: ComfyError | None


def perform(options: argparse.Namespace, line: StatusLine) -> ModelsResult:
    """Carries out a command that `parse` read. Prints nothing but progress on `line`."""
    proof = None
    try:
        with arrivals(line) as (say, progress):
            proof = _proof(options, say, progress)
        error = proof.error
    except (ComfyError, OSError) as failure:
        error = reportable(failure)
    if options.json:
        document = json.dumps(_document(proof, error), indent=2, ensure_ascii=False)
        return ModelsResult(lines=[document], error=error)
    lines = [_in_words(one, options.verbose) for one in proof.models] if proof else []
    return ModelsResult(lines=lines, error=error)


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


def _in_words(proven: ProvenModel, verbose: bool) -> str:
    """`downloaded  vae/x.safetensors  335.0 MB`; if `verbose`, where it is and its sha256."""
    model = proven.model
    where = f"  {proven.path}  sha256:{model.sha256}" if verbose else ""
    linked = "  linked" if proven.linked else ""
    return f"{proven.state:<10}  {model.target_path}  {readable_size(model.size)}{linked}{where}"


def _document(proof: Proof | None, error: ComfyError | None) -> dict[str, Any]:
    models = [
        {
            "target_path": one.model.target_path,
            "sha256": one.model.sha256,
            "size": one.model.size,
            "state": one.state,
            "path": str(one.path),
            "reason": one.reason,
        }
        for one in (proof.models if proof is not None else ())
    ]
    failure = (
        {
            "error": error.message,
            "remedy": error.remedy,
            "exit_code": error.exit_code,
        }
        if error is not None
        else {}
    )
    return {"models": models, **failure}


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
    add("--timeout", type=float, metavar="SECONDS", help="how long a server may send nothing (120)")
    return parser.parse_args(arguments)
