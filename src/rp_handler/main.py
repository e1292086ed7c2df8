"""The command line of the run side: `python -m rp_handler.main`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_errors import ComfyError
from rp_handler.errors import JobError, failure_document
from rp_handler.home.choice import baked_version_id
from rp_handler.modes.choice import add_sdk_options, choose_listen, choose_mode, sdk_arguments
from rp_handler.modes.init_process import run_as_init
from rp_handler.run_options import add_run_options, add_ui_option
from rp_handler.run_request import RunRequest, make_request

if TYPE_CHECKING:
    from rp_handler.job.run import Listener

INTERRUPTED = 130

_EXAMPLES = """\
on a machine with a realized version:
  python -m rp_handler.main --version-id demo --workflow workflows/example.json

in an image, whose entrypoint this is:
  docker run --rm IMAGE --workflow /app/workflows/minimal.json --output base64
  docker run --rm --gpus all -v /srv/models:/models -e MODELS_DIR=/models IMAGE \\
    --workflow /app/workflows/example.json --output base64
  docker run --rm -p 8188:8188 -v /srv/models:/models -e MODELS_DIR=/models IMAGE --ui
  docker run --rm -p 8000:8000 -v /srv/models:/models -e MODELS_DIR=/models IMAGE \\
    --rp_serve_api --rp_api_host 0.0.0.0
  docker run --rm -e COMFY_MISSING_MODELS=ignore IMAGE \\
    --test_input '{"input": {"workflow": "minimal"}}'

On RunPod it takes the endpoint's jobs without any flag. COMFY_MODE=ui serves the page instead.
Models are looked for in MODELS_DIR, on the volume, in a store and in RunPod's cache of the Hub;
COMFY_MISSING_MODELS=fail|download|ignore says what to do about missing ones, and
COMFY_VERIFY_MODELS=1 reads all of them again.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads `arguments` (those of the process by default), runs; gives the exit code."""
    options = _parser().parse_args(arguments)
    try:
        request = _request_of(options)
    except ComfyError as error:
        return _fail(error, machine=options.json)
    return execute(request)


def _request_of(options: argparse.Namespace) -> RunRequest:
    sdk = sdk_arguments(options)
    mode = choose_mode(
        os.environ, workflow=options.workflow, ui=options.ui, sdk=sdk, folder=Path.cwd()
    )
    request = make_request(
        os.environ,
        version_id=options.version_id,
        workflow=options.workflow,
        home=options.home,
        models_dir=options.models_dir,
        output=options.output,
        output_dir=options.output_dir,
        ui=mode == "ui",
        worker=mode == "worker",
        port=options.port,
        timeout_s=options.timeout,
        as_json=options.json,
        verbose=options.verbose,
        image_id=baked_version_id(os.environ),
    )
    lock_path = os.environ.get("LOCK_PATH")
    return replace(
        request,
        listen=choose_listen(os.environ, asked=options.listen, mode=mode),
        lock_path=Path(lock_path) if lock_path else None,
        sdk_arguments=tuple(sdk),
    )


def execute(
    request: RunRequest, judge: Callable[[Mapping[str, Any]], None] = lambda _result: None
) -> int:
    """Does what `request` asks, in a realized home; gives the exit code.

    Results go to standard output, everything else to standard error. Never raises ComfyError.
    `judge` sees the result document after it was printed, and raises a ComfyError to fail the run.
    """
    from rp_handler.job.progress_line import ProgressLine
    from rp_handler.job.run import Listener

    line = ProgressLine(sys.stderr)
    listener = Listener(
        say=line.say,
        progress=line.show,
        log=(lambda text: line.say(f"comfyui: {text}")) if request.verbose else None,
    )
    machine = request.workflow is not None and (request.as_json or request.output == "base64")
    try:
        result = perform(request, listener)
    except ComfyError as error:
        line.clear()
        return _fail(error, machine=machine)
    except OSError as error:
        line.clear()
        refused = JobError(
            f"The system refused: {error}.",
            remedy="Check the room and the permissions there, then run it again.",
        )
        return _fail(refused, machine=machine)
    except KeyboardInterrupt:
        line.say("Interrupted; ComfyUI is ended.")
        # For what serves until then, this is the usual way to end.
        return 0 if request.workflow is None else INTERRUPTED
    if isinstance(result, int):
        return result
    line.clear()
    for warning in result["warnings"]:
        line.say(f"warning: {warning}")
    _print_result(result, machine=machine)
    try:
        judge(result)
    except ComfyError as error:
        return _fail(error, machine=False)
    return 0


def perform(request: RunRequest, listener: Listener) -> dict[str, Any] | int:
    """Does what `request` asks, in a realized home: the result document of a workflow, or the exit
    code of what served until its end. Prints nothing; raises a ComfyError."""
    # Not before it is needed: these bring aiohttp along, and the build side only wants our name.
    from rp_handler.home.open import open_for_run
    from rp_handler.interruption import run_interruptibly
    from rp_handler.job.run import run_workflow
    from rp_handler.job.sinks import sink_for
    from rp_handler.modes.ui import serve_ui

    home, search = open_for_run(request, os.environ, say=listener.say)
    if request.ui:
        return run_interruptibly(
            serve_ui(home, listener, port=request.port, listen=request.listen, search=search)
        )
    if request.workflow is None:
        from rp_handler.modes.worker import serve_jobs

        return run_interruptibly(
            serve_jobs(
                home,
                listener,
                workflows=Path.cwd() / "workflows",
                sdk_arguments=request.sdk_arguments,
                search=search,
            )
        )
    sink = sink_for(
        request.output, output_dir=request.output_dir, workflow_name=request.workflow.stem
    )
    return run_interruptibly(
        run_workflow(
            home,
            request.workflow,
            sink,
            listener,
            port=request.port,
            timeout_s=request.timeout_s,
            search=search,
        )
    )


def _print_result(result: dict[str, Any], *, machine: bool) -> None:
    from rp_handler.job.result_lines import result_lines

    if machine:
        _write_out([json.dumps(result, ensure_ascii=False)])
    else:
        _write_out(result_lines(result))


def _fail(error: ComfyError, *, machine: bool) -> int:
    if machine:
        _write_out([json.dumps(failure_document(error), ensure_ascii=False)])
    print(error.in_words(), file=sys.stderr)
    return error.exit_code


def _write_out(lines: list[str]) -> None:
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        # Somebody like `head` has read enough. The interpreter flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rp_handler.main",
        description="Run a workflow on the ComfyUI of a realized version or of an image, serve "
        "its page, or take RunPod's jobs.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--version-id", metavar="ID", help="the version (COMFY_VERSION_NAME, then demo)")
    add("--home", type=Path, help="where it is realized (COMFY_HOME, the image's, ~/comfy-ID)")
    add("--models-dir", type=Path, metavar="DIR", help="models (MODELS_DIR, then HOME/models)")
    add_run_options(parser)
    add_ui_option(parser)
    add("--listen", metavar="IP", help="where --ui serves (COMFY_LISTEN; 0.0.0.0 in an image)")
    add("--json", action="store_true", help="print the result as one JSON document")
    add("--verbose", action="store_true", help="show ComfyUI's log while it runs")
    add_sdk_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(run_as_init(main) if os.getpid() == 1 else main())
