"""The commands `models sync` and `models verify`: a version's models in a folder, such as that of
the volume that serverless workers read.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

from comfy_errors import ComfyError, InvalidInputError
from comfy_errors.names import quantity
from comfy_files.arrivals import arrivals
from comfy_files.progress import Progress, Say, StatusLine
from comfy_http.logins import faults_said
from comfy_models.proof import Proof, Report, State
from rp_handler.errors import reportable
from rp_handler.home.open import baked_version_id, opened_for_models
from rp_handler.run_request import add_home_options, make_request, seconds

if TYPE_CHECKING:
    from comfy_models.volumes.fill import Filled
    from rp_handler.home.model_search import ModelSearch
    from rp_handler.home.realized import Home

_EXAMPLES = """\
examples, on a pod whose volume is mounted at /workspace:
  python -m rp_handler.main models sync
  python -m rp_handler.main models verify --rehash

the volumes of two data centers, from any machine, with an S3 API key of RunPod in
RUNPOD_S3_ACCESS_KEY_ID and RUNPOD_S3_SECRET_ACCESS_KEY:
  python -m rp_handler.main models sync --volume EU-RO-1/ID --volume US-KS-2/ID

exit codes: 0 every model is there, 3 one could not be reached, 4 one is missing or wrong
"""


def perform(options: argparse.Namespace, line: StatusLine) -> Report:
    """Carries out a command that `parse` read. Shows progress on `line`, and prints nothing."""
    try:
        with arrivals(line) as (say, progress), faults_said(say):
            if options.volumes:
                return _filled(options, say, progress).report()
            return _report(_proof(options, say, progress), verbose=options.verbose)
    except (ComfyError, OSError) as failure:
        return Report(error=reportable(failure))


def _report(proof: Proof, *, verbose: bool) -> Report:
    more = ("path", "sha256") if verbose else ()
    return Report(
        about=quantity(len(proof.models), "model"),
        found=proof.models,
        states=get_args(State),
        keys=("path", "linked"),
        columns=("state", "target_path", "size", *more, "linked"),
        error=proof.error,
    )


def _opened(options: argparse.Namespace, say: Say) -> tuple[Home, ModelSearch]:
    request = make_request(
        os.environ,
        version_id=options.version_id,
        home=options.home,
        models_dir=options.models_dir,
        worker=True,
        image_id=baked_version_id(os.environ),
    )
    return opened_for_models(request, os.environ, say=say)


def _filled(options: argparse.Namespace, say: Say, progress: Progress) -> Filled:
    # Imported late, like what `_proof` needs.
    from comfy_models.store import ModelStore
    from comfy_models.volumes.fill import fill_volumes
    from comfy_models.volumes.volume import volume_named
    from rp_handler.home.supply import hosts_here

    if options.models_dir is not None or options.rehash:
        raise InvalidInputError(
            "--volume cannot be used with --models-dir or --rehash",
            remedy="Leave out --volume to fill a folder, or the other option.",
        )
    home, search = _opened(options, say)
    return fill_volumes(
        home.manifest.models,
        [volume_named(name, os.environ) for name in options.volumes],
        ModelStore(search.places.stores[0]),
        hosts_here(os.environ, say, timeout_s=options.timeout),
        overwrite=options.overwrite,
        say=say,
        progress=progress,
    )


def _proof(options: argparse.Namespace, say: Say, progress: Progress) -> Proof:
    # Imported late: `--help` needs little.
    from rp_handler.home.proven_models import ModelsJob, sync_models, verify_models
    from rp_handler.home.supply import hosts_here

    home, search = _opened(options, say)
    job = ModelsJob(home=home, search=search, rehash=options.rehash, say=say, progress=progress)
    if options.command == "verify":
        return verify_models(job)
    hosts = hosts_here(os.environ, say, timeout_s=options.timeout)
    return sync_models(job, hosts, overwrite=options.overwrite)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options in `arguments`, those after `models`. Exits for `--help` and a wrong option."""
    parser = argparse.ArgumentParser(
        prog="python -m rp_handler.main models",
        description="Verify the models of a version in a models folder, such as that of a network "
        "volume, or bring them into it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True
    )
    sync = commands.add_parser("sync", help="bring into the folder what it lacks")
    verify = commands.add_parser("verify", help="say whether all are there, and change nothing")
    for command in (sync, verify):
        folder = "the folder (MODELS_DIR, then models/ of the volume, then HOME/models)"
        add_home_options(command, models_help=folder)
        add = command.add_argument
        add("--rehash", action="store_true", help="read every byte again")
        add("--json", action="store_true", help="print one JSON document")
        add("--verbose", action="store_true", help="say where each model is, and its sha256")
    verify.set_defaults(volumes=[])
    add = sync.add_argument
    add(
        "--volume",
        dest="volumes",
        action="append",
        default=[],
        metavar="DATACENTER/ID",
        help="fill a network volume over S3 instead of a folder, such as EU-RO-1/4jw1fcocwl; "
        "repeatable",
    )
    add("--overwrite", action="store_true", help="replace other files in the places of models")
    add(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="give up on a server that sends nothing for this long (120)",
    )
    return parser.parse_args(arguments)
