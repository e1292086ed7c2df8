"""The program `runpod-comfy`: its commands, and the one place where errors become exit codes."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from comfy_errors import ComfyError
from comfy_files.files import os_reason, os_remedy
from runpod_comfy import __version__
from runpod_comfy.cli import (
    bundle,
    diff,
    init,
    models,
    realize,
    remove,
    resolve,
    spec,
    upkeep,
)
from runpod_comfy.cli.image import commands as image
from runpod_comfy.cli.options import add_project
from runpod_comfy.cli.proof import prove, repro, test, verify_picture
from runpod_comfy.cli.show.console import Console
from runpod_comfy.cli.usage import completion
from runpod_comfy.cli.usage.parser import Parser, UsageError

INTERRUPTED = 130

_EXIT_CODES = """exit codes:
  0 done   1 the operation failed   2 usage or invalid input
  3 something required could not be reached or found
  4 a verification or comparison failed
  5 no usable Docker engine   130 interrupted
"""


def build_parser() -> Parser:
    """A parser with all commands and options, without importing what the commands use."""
    parser = Parser(
        prog="runpod-comfy",
        description="Pinned ComfyUI, the same on a laptop, in a container and on RunPod.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"runpod-comfy {__version__}")
    add_project(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (
        spec,
        resolve,
        diff,
        realize,
        test,
        repro,
        prove,
        verify_picture,
        models,
        remove,
        bundle,
        image,
        upkeep,
        init,
        completion,
    ):
        module.add_parser(commands)
    return parser


def run_command_line(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code; an error is printed as one sentence.

    With `--json` the error is also the one document on standard output.
    """
    console = Console(as_json="--json" in arguments)
    try:
        parser = build_parser()
        completion.answer_shell(parser)
        try:
            parsed = parser.parse_args(arguments)
            console = Console(as_json=parsed.as_json, verbose=parsed.verbose)
            code: int = parsed.run(parsed, console)
        finally:
            # Even after `--help`, which raises SystemExit.
            sys.stdout.flush()
    except UsageError as error:
        return _show(f"{error.usage}{error.in_words()}", error, error.exit_code, console)
    except ComfyError as error:
        return _show(error.in_words(), error, error.exit_code, console)
    except KeyboardInterrupt:
        interrupted = ComfyError("interrupted", remedy="Run the same command again to continue.")
        words = f"{interrupted.message}\n  → {interrupted.remedy}"
        return _show(words, interrupted, INTERRUPTED, console)
    except BrokenPipeError:
        raise
    except OSError as error:
        refused = ComfyError(os_reason(error), remedy=os_remedy(error))
        return _show(refused.in_words(), refused, refused.exit_code, console)
    return code


def _show(words: str, error: ComfyError, exit_code: int, console: Console) -> int:
    console.say(words)
    console.result("", {"error": error.message, "remedy": error.remedy, "exit_code": exit_code})
    return exit_code


def main() -> NoReturn:
    """The console entry point. It ends quietly if a reader closes the pipe (`| head`)."""
    _unwind_on_signals()
    _replace_closed_streams()
    code = ComfyError.exit_code
    try:
        code = run_command_line(sys.argv[1:])
        sys.stdout.flush()
    except OSError as error:
        # What could not be written is still in the buffer, and would fail again at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            code = 0
    sys.exit(code)


def _replace_closed_streams() -> None:
    """Opens the null device for a closed stream (`>&-`), which Python sets to None."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, stream)


def _unwind_on_signals() -> None:
    """Makes SIGTERM and SIGHUP unwind like Ctrl-C, so that children and half-written files are
    removed.
    """

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A signal that is already ignored, like SIGHUP under nohup, stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


if __name__ == "__main__":
    main()
