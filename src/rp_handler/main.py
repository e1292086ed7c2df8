"""The command line of the run side: `python -m rp_handler.main`."""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from comfy_errors import ComfyError, InvalidInputError
from comfy_errors.names import escaped
from comfy_files.progress import StatusLine, say_nothing
from comfy_http.logins import faults_said
from comfy_models.proof import Report
from rp_handler.engine.command import LOOPBACK
from rp_handler.errors import failure_document, reportable
from rp_handler.home.open import baked_home, baked_version_id
from rp_handler.job.terminal import listening, result_lines
from rp_handler.modes import models
from rp_handler.modes.init_process import run_as_init
from rp_handler.run_request import (
    HANDLERS_OUTPUT_MODE,
    RunRequest,
    add_home_options,
    add_run_options,
    add_ui_option,
    is_smoke_test,
    make_request,
)
from rp_handler.worker_log import WorkerLog

if TYPE_CHECKING:
    from rp_handler.engine.prompt import Listener
    from rp_handler.home.model_search import ModelSearch
    from rp_handler.home.realized import Home

INTERRUPTED = 130

Mode = Literal["workflow", "ui", "worker"]

_EVERYWHERE = "0.0.0.0"
_SDK_SWITCHES = ("--rp_serve_api", "--rp_debugger")
_SDK_VALUES = {
    "--rp_api_host": "HOST",
    "--rp_api_port": "PORT",
    "--rp_api_concurrency": "NUMBER",
    "--rp_log_level": "LEVEL",
    "--test_input": "JSON",
}

_EXAMPLES = """\
on a machine with a realized version:
  python -m rp_handler.main --version-id demo --workflow workflows/example.json

in an image, whose entrypoint this is:
  docker run --rm IMAGE --workflow /app/workflows/minimal.json --output base64
  docker run --rm --gpus all -v /srv/models:/models -e MODELS_DIR=/models IMAGE \\
    --workflow /app/workflows/example.json --output base64
  docker run --rm -p 8188:8188 -v /srv/models:/models -e MODELS_DIR=/models IMAGE --ui
  docker run --rm -p 8000:8000 -v /srv/models:/models -e MODELS_DIR=/models \\
    -e OUTPUT_MODE=base64 IMAGE --rp_serve_api --rp_api_host 0.0.0.0
  docker run --rm -e COMFY_MISSING_MODELS=ignore -e OUTPUT_MODE=base64 IMAGE \\
    --test_input '{"input": {"workflow": "minimal"}}'
  docker run --rm -v /srv/volume:/workspace IMAGE models sync
  docker run --rm IMAGE models --help

On RunPod it takes the endpoint's jobs without any flag. COMFY_MODE=ui serves the page instead.
Models are searched for in MODELS_DIR, on the volume, in a store and in RunPod's cache of the Hub;
COMFY_MISSING_MODELS=fail|download|ignore says what to do about missing ones, and
COMFY_VERIFY_MODELS=1 reads all of them again.
Outputs go to the bucket of Google Cloud Storage that GCS_BUCKET names, with the key of
GOOGLE_APPLICATION_CREDENTIALS, unless --output or OUTPUT_MODE says otherwise.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses `arguments` (by default the process's own), runs, and returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if words[:1] == ["models"]:
            return _models(words[1:])
        options = _parser().parse_args(words)
        log = None
        try:
            mode = choose_mode(
                os.environ,
                workflow=options.workflow,
                ui=options.ui,
                sdk=sdk_arguments(options),
                folder=Path.cwd(),
            )
            if mode == "worker":
                log = WorkerLog(
                    StatusLine(sys.stderr).say, os.environ, shows_engine=options.verbose
                )
            request = _request_of(options, mode)
        except ComfyError as error:
            return _fail(error, machine=options.json, log=log)
        return execute(request, log=log)
    except OSError as error:
        _drop_output()
        return _fail(reportable(error), machine=False)


def _models(arguments: Sequence[str]) -> int:
    from rp_handler.interruption import unwinding

    options = models.parse(arguments)
    line = StatusLine(sys.stderr)
    try:
        with unwinding():
            result = models.perform(options, line)
    except KeyboardInterrupt:
        stopped = ComfyError("interrupted", remedy="Run the same command again to continue.")
        if options.json:
            document = Report(error=stopped).document()
            _write_out([json.dumps(document, indent=2, ensure_ascii=False)])
        line.say(f"Interrupted.\n  → {stopped.remedy}")
        return INTERRUPTED
    if options.json:
        _write_out([json.dumps(result.document(), indent=2, ensure_ascii=False)])
    else:
        _write_out(list(map(escaped, result.table())))
    if result.summary():
        line.say(result.summary())
    return 0 if result.error is None else _fail(result.error, machine=False)


def _request_of(options: argparse.Namespace, mode: Mode) -> RunRequest:
    from rp_handler.outputs.modes import named_bucket

    request = make_request(
        os.environ,
        version_id=options.version_id,
        workflow=options.workflow,
        home=options.home,
        models_dir=options.models_dir,
        output=options.output,
        usual_output=named_bucket(os.environ) or HANDLERS_OUTPUT_MODE,
        output_dir=options.output_dir,
        ui=mode == "ui",
        worker=mode == "worker",
        port=options.port,
        timeout_s=options.timeout,
        as_json=options.json,
        verbose=options.verbose,
        provenance=options.provenance,
        image_id=baked_version_id(os.environ),
    )
    if options.node_hashes and mode != "workflow":
        raise InvalidInputError(
            "--node-hashes only applies to a workflow", remedy="Use it together with --workflow."
        )
    lock_path = os.environ.get("LOCK_PATH")
    return replace(
        request,
        listen=choose_listen(os.environ, asked=options.listen, mode=mode),
        lock_path=Path(lock_path) if lock_path else None,
        sdk_arguments=tuple(sdk_arguments(options)),
        hashes_nodes=options.node_hashes,
    )


def execute(
    request: RunRequest,
    judge: Callable[[dict[str, Any]], ComfyError | None] = lambda _result: None,
    *,
    log: WorkerLog | None = None,
) -> int:
    """Carries out `request` in a realized home; returns the exit code.

    Results go to standard output, everything else to standard error, that of a worker to `log`.
    Never raises ComfyError. `judge` gets the result document before it is printed and may add to
    it; with the error that it returns, the run fails.
    """
    line = StatusLine(sys.stderr)
    machine = request.workflow is not None and (request.as_json or request.output == "base64")
    try:
        with (
            listening(line, shows_log=request.verbose)
            if log is None
            else nullcontext(_listener_of_worker(log))
        ) as listener:
            result = perform(request, listener, log)
    except (ComfyError, OSError) as error:
        return _fail(reportable(error), machine=machine, log=log)
    except KeyboardInterrupt:
        stopped = "Interrupted; ComfyUI was stopped."
        if log is None:
            line.say(stopped)
        else:
            log.note("stopped", stopped)
        if request.workflow is None:
            # For a server this is the normal way to end.
            return 0
        remedy = "Run the same command again; the workflow starts from its beginning."
        line.say(f"  → {remedy}")
        if machine:
            document = {"error": "interrupted", "remedy": remedy, "exit_code": INTERRUPTED}
            _write_out([json.dumps(document, ensure_ascii=False)])
        return INTERRUPTED
    if isinstance(result, int):
        return result
    for warning in result["warnings"]:
        line.say(f"Warning: {warning}")
    fault = judge(result)
    _write_out([json.dumps(result, ensure_ascii=False)] if machine else result_lines(result))
    return 0 if fault is None else _fail(fault, machine=False)


def _listener_of_worker(log: WorkerLog) -> Listener:
    from rp_handler.engine.prompt import Listener

    return Listener(
        say=log.say,
        # The log of a worker is not watched.
        progress=lambda _progress: None,
        log=log.engine_line if log.shows_engine else None,
        events=log.note,
    )


def perform(
    request: RunRequest, listener: Listener, log: WorkerLog | None = None
) -> dict[str, Any] | int:
    """Carries out `request` in a realized home: returns the result document of a workflow, or the
    exit code of a server that has ended. Prints nothing; raises ComfyError. A worker needs its
    `log`.
    """
    # Imported late: these import aiohttp, which the build side does not need.
    import asyncio

    from rp_handler.home.open import opened_for_run
    from rp_handler.interruption import interruptible
    from rp_handler.job.run import run_workflow
    from rp_handler.modes.ui import serve_ui
    from rp_handler.outputs.modes import lacks_bucket
    from rp_handler.outputs.names import run_name
    from rp_handler.outputs.open import Outputs

    port, timeout_s, graph = request.port, request.timeout_s, request.workflow
    shown = listener.say if log is None else log.signed_url
    explain = shown if request.verbose else say_nothing

    async def work(home: Home, search: ModelSearch | None) -> dict[str, Any] | int:
        if request.ui:
            return await serve_ui(home, listener, port=port, listen=request.listen, search=search)
        outputs = Outputs(os.environ, output_dir=request.output_dir, explain=explain)
        if graph is None:
            from rp_handler.modes.worker import serve_jobs

            assert log is not None, "a worker has a log"
            return await serve_jobs(
                home,
                listener,
                log,
                workflows=Path.cwd() / "workflows",
                outputs=outputs,
                output=request.output,
                sdk_arguments=request.sdk_arguments,
                port=port,
                search=search,
                has_provenance=request.has_provenance,
            )
        # It has no outputs, but checks a bucket that is named.
        needs_none = is_smoke_test(graph) and lacks_bucket(request.output, os.environ)
        sink = await outputs.sink(
            "base64" if needs_none else request.output,
            version_id=home.manifest.version_id,
            job=run_name(graph.stem),
        )
        return await run_workflow(
            home,
            graph,
            sink,
            listener,
            port=port,
            timeout_s=timeout_s,
            search=search,
            has_provenance=request.has_provenance,
            hashes_nodes=request.hashes_nodes,
        )

    with (
        faults_said(listener.say),
        opened_for_run(request, os.environ, say=listener.say) as (home, search),
    ):
        return asyncio.run(interruptible(work(home, search)))


def _fail(error: ComfyError, *, machine: bool, log: WorkerLog | None = None) -> int:
    if machine:
        _write_out([json.dumps(failure_document(error), ensure_ascii=False)])
    if log is not None:
        log.failed(error)
    else:
        print(error.in_words(), file=sys.stderr)
    return error.exit_code


def _write_out(lines: list[str]) -> None:
    try:
        for line in lines:
            print(line)
        # Where standard output is closed, there is none to flush.
        print(end="", flush=True)
    except BrokenPipeError:
        # A reader such as `head` has closed the pipe.
        _drop_output()


def _drop_output() -> None:
    """Lets go of what could not be written: the interpreter flushes once more when it exits."""
    if sys.stdout is not None:
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
    add_home_options(parser, models_help="models (MODELS_DIR, then HOME/models)")
    add_run_options(parser, usual_output=HANDLERS_OUTPUT_MODE)
    add_ui_option(parser)
    add("--listen", metavar="IP", help="where --ui serves (COMFY_LISTEN; 0.0.0.0 in an image)")
    add("--json", action="store_true", help="print the result as one JSON document")
    add("--verbose", action="store_true", help="show ComfyUI's log while it runs")
    add("--node-hashes", action="store_true", help="add hashes of what each node gives")
    add_sdk_options(parser)
    return parser


def add_sdk_options(parser: argparse.ArgumentParser) -> None:
    """Flags of RunPod's SDK, which are passed on to it."""
    group = parser.add_argument_group("for RunPod jobs; passed to its SDK")
    for flag in _SDK_SWITCHES:
        group.add_argument(flag, action="store_true")
    for flag, metavar in _SDK_VALUES.items():
        # The SDK parses them too, but only after the engine has started.
        check = {"JSON": _json, "PORT": _port, "NUMBER": _number}.get(metavar, str)
        group.add_argument(flag, metavar=metavar, type=check)


def _port(text: str) -> str:
    if not (text.isdecimal() and 0 < int(text) < 2**16):
        raise argparse.ArgumentTypeError(f'"{text}" is not a port, which is a number below 65536')
    return text


def _number(text: str) -> str:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f'"{text}" is not a number above 0')
    return text


def _json(text: str) -> str:
    try:
        json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    return text


def sdk_arguments(options: argparse.Namespace) -> list[str]:
    """The SDK's flags in `options`, as the SDK reads them."""
    given = vars(options)
    arguments = [flag for flag in _SDK_SWITCHES if given[flag.lstrip("-")]]
    for flag in _SDK_VALUES:
        if given[flag.lstrip("-")] is not None:
            arguments += [flag, given[flag.lstrip("-")]]
    return arguments


def choose_mode(
    environment: Mapping[str, str],
    *,
    workflow: Path | None,
    ui: bool,
    sdk: list[str],
    folder: Path,
) -> Mode:
    """The mode that flags ask for, else COMFY_MODE, else what the environment implies.

    `folder` is the working directory: the SDK runs a `test_input.json` there. Raises
    InvalidInputError if there is nothing to do.
    """
    asked = environment.get("COMFY_MODE") or None
    if asked not in (None, "ui"):
        raise InvalidInputError(
            f'COMFY_MODE is "{asked}"', remedy="Set it to ui for ComfyUI's page, or unset it."
        )
    if ui:
        return "ui"
    if workflow is not None:
        return "workflow"
    if asked == "ui" and not sdk:
        return "ui"
    is_tested = baked_home(environment) and (folder / "test_input.json").is_file()
    if sdk or environment.get("RUNPOD_WEBHOOK_GET_JOB") or is_tested:
        return "worker"
    raise InvalidInputError(
        "no workflow was given",
        remedy="Name one with --workflow, serve ComfyUI's page with --ui, or take jobs as on "
        "RunPod with --rp_serve_api."
        if baked_home(environment)
        else "Name one with --workflow, or serve ComfyUI's page with --ui.",
    )


def choose_listen(environment: Mapping[str, str], *, asked: str | None, mode: Mode) -> str:
    """The address that ComfyUI serves its page on: all interfaces in an image, so that it can be
    reached from outside the container, and loopback elsewhere. Raises InvalidInputError.
    """
    if mode != "ui":
        if asked is not None:
            raise InvalidInputError(
                "--listen only applies to ComfyUI's page",
                remedy="Use --listen together with --ui.",
            )
        return LOOPBACK
    usual = _EVERYWHERE if baked_home(environment) else LOOPBACK
    address = asked or environment.get("COMFY_LISTEN") or usual
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise InvalidInputError(
            f'"{address}" is not an IP address to listen on',
            remedy=f"Set --listen or COMFY_LISTEN to {LOOPBACK}, or to {_EVERYWHERE} for all "
            "interfaces.",
        ) from error
    return address


if __name__ == "__main__":
    sys.exit(run_as_init(main) if os.getpid() == 1 else main())
