"""A request to the run side, and the defaults for options that are left out.

Both `runpod-comfy run` and `python -m rp_handler.main` use these options and build their request
here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import InvalidInputError
from comfy_files.user_paths import expanded
from comfy_home.output_modes import BY_OPTION, BY_VARIABLE
from rp_handler.engine.command import LOOPBACK
from rp_handler.variables import flag

DEFAULT_VERSION_ID = "demo"
DEFAULT_OUTPUT_MODE = "files"
HANDLERS_OUTPUT_MODE = "gcs"
"""The default of the handler itself, as the user's guide has it."""
DEFAULT_OUTPUT_DIR = Path("outputs")


PROVENANCE_HELP = "say in the result and its pictures what they were made from (COMFY_PROVENANCE)"


def asks_for_provenance(environment: Mapping[str, str]) -> bool:
    """Raises InvalidInputError."""
    return flag(environment, "COMFY_PROVENANCE", default=False)


def output_help(usual: str) -> str:
    """The help of `--output`, with its default."""
    return f"files, base64, gcs or s3 (OUTPUT_MODE, then {usual})"


def add_run_options(
    parser: argparse.ArgumentParser, *, usual_output: str = DEFAULT_OUTPUT_MODE
) -> None:
    """Adds the options for what to run and where its result goes."""
    add = parser.add_argument
    add(
        "--workflow",
        type=named_path,
        metavar="FILE",
        help="a graph in the API format; {} is a smoke test",
    )
    add("--output", metavar="MODE", help=output_help(usual_output))
    add(
        "--output-dir", type=named_path, metavar="DIR", help="where --output files writes (outputs)"
    )
    add("--provenance", action="store_true", help=PROVENANCE_HELP)
    add("--port", type=port_number, help="ComfyUI's port on loopback (a free one)")
    add("--timeout", type=float, metavar="SECONDS", help="how long the workflow may run (no limit)")


def add_home_options(parser: argparse.ArgumentParser, *, models_help: str) -> None:
    """Adds the handler's options for the version, its home and its models folder."""
    add = parser.add_argument
    home_help = "where it is realized (COMFY_HOME, the image's, ~/comfy-ID)"
    add("--version-id", metavar="ID", help="the version (COMFY_VERSION_NAME, then demo)")
    add("--home", type=named_path, help=home_help)
    add("--models-dir", type=named_path, metavar="DIR", help=models_help)


def add_ui_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option that serves the page instead of running a workflow."""
    parser.add_argument("--ui", action="store_true", help="serve ComfyUI's own page until Ctrl-C")


def named_path(text: str) -> Path:
    """The value of an option that is a path."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty")
    return Path(text)


def port_number(text: str) -> int:
    """The value of an option that is a port; its range is checked by `make_request`."""
    try:
        return int(text)
    except ValueError:
        fault = f"it must be between 1 and 65535, not {text}"
        raise argparse.ArgumentTypeError(fault) from None


def seconds(text: str) -> float:
    """The value of an option that is a duration."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("it must be a number of seconds above 0")
    return value


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A run, with all defaults applied.

    `id_was_asked` is true if the user named the version. `home` and `models_dir` are None for the
    default places. With `ui`, the version's page is served on the address `listen`, and there is no
    `workflow`. `output` was not checked for the page and the smoke test. `timeout_s` limits the run
    in seconds; None means no limit. `lock_path` is the lock that the home must have been made from,
    None for any. Without page and workflow, RunPod jobs are served, and `sdk_arguments` go to
    RunPod's SDK. If it `has_provenance`, results and pictures say what they were made from. With
    `hashes_nodes` the result has hashes of what each node gave.
    """

    version_id: str
    id_was_asked: bool
    workflow: Path | None
    home: Path | None
    models_dir: Path | None
    output: str
    output_dir: Path
    ui: bool
    port: int | None
    timeout_s: float | None
    as_json: bool
    verbose: bool
    has_provenance: bool = False
    listen: str = LOOPBACK
    lock_path: Path | None = None
    sdk_arguments: tuple[str, ...] = ()
    hashes_nodes: bool = False


def make_request(
    environment: Mapping[str, str],
    *,
    version_id: str | None = None,
    workflow: Path | None = None,
    home: Path | None = None,
    models_dir: Path | None = None,
    output: str | None = None,
    usual_output: str = DEFAULT_OUTPUT_MODE,
    output_dir: Path | None = None,
    ui: bool = False,
    worker: bool = False,
    port: int | None = None,
    timeout_s: float | None = None,
    as_json: bool = False,
    verbose: bool = False,
    provenance: bool = False,
    image_id: str | None = None,
) -> RunRequest:
    """The request of these flags: missing values come from `environment`, then from the defaults.

    `usual_output` is the mode that neither names. `image_id` is the version of an image. The image
    itself sets COMFY_VERSION_NAME to it, so that value does not count as named by the user. Raises
    InvalidInputError, and UnavailableError for a `~` without a home folder or a key file that
    cannot be read.
    """
    # Imported late: this module is imported even for --help.
    from rp_handler.outputs.modes import check_output_mode

    if workflow is None and not ui and not worker:
        raise InvalidInputError(
            "no workflow was given",
            remedy="Name one with --workflow, or serve ComfyUI's page with --ui.",
        )
    if version_id == "":
        # A variable in a script may not have been set: the default is not what it meant.
        raise InvalidInputError("the version id is empty", remedy="Name a version, such as demo.")
    if ui:
        asked = {
            "--workflow": workflow,
            "--output": output,
            "--output-dir": output_dir,
            "--timeout": timeout_s,
            "--provenance": provenance or None,
        }
        _refuse_with_page([flag for flag, value in asked.items() if value is not None])
    if port is not None and not 0 < port < 65536:
        raise InvalidInputError(
            f"--port must be between 1 and 65535, not {port}",
            remedy="Pass a port in that range, or leave out --port for a free one.",
        )
    if timeout_s is not None and not timeout_s > 0:
        raise InvalidInputError(
            f"--timeout must be positive, not {timeout_s:g}",
            remedy="Pass a number of seconds above 0, or leave out --timeout.",
        )
    models = models_dir or environment.get("MODELS_DIR")
    named_id = environment.get("COMFY_VERSION_NAME")
    mode = output or environment.get("OUTPUT_MODE") or usual_output
    if not (ui or is_smoke_test(workflow)):
        check_output_mode(mode, environment, instead=BY_OPTION if output else BY_VARIABLE)
    return RunRequest(
        version_id=version_id or named_id or DEFAULT_VERSION_ID,
        id_was_asked=bool(version_id or (named_id and named_id != image_id)),
        workflow=expanded(workflow) if workflow is not None else None,
        home=home,
        models_dir=expanded(models) if models else None,
        output=mode,
        output_dir=expanded(output_dir or DEFAULT_OUTPUT_DIR),
        ui=ui,
        port=port,
        timeout_s=timeout_s,
        as_json=as_json,
        verbose=verbose,
        has_provenance=provenance or asks_for_provenance(environment),
    )


def is_smoke_test(workflow: Path | None) -> bool:
    """True for a file with the empty graph, which has no outputs."""
    try:
        return workflow is not None and json.loads(expanded(workflow).read_bytes()) == {}
    except (OSError, ValueError, RecursionError):
        # What is wrong with it is reported when it is loaded as a workflow.
        return False


def _refuse_with_page(flags: Sequence[str]) -> None:
    if flags:
        raise InvalidInputError(
            f"{' and '.join(flags)} cannot be used with --ui, which runs no workflow",
            remedy=f"Leave out --ui, or {' and '.join(flags)}.",
        )
