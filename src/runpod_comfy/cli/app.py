"""The program `runpod-comfy`: its commands, and the one place where errors become exit codes. Also
`completion`, which lets a shell complete commands, options and version ids: argcomplete does it.
"""

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
from comfy_http.logins import faults_said
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
from runpod_comfy.cli.options import Parser, Subparsers, UsageError, add_command, add_project
from runpod_comfy.cli.proof import prove, repro, test, verify_picture
from runpod_comfy.cli.show.console import Console

INTERRUPTED = 130

_EXIT_CODES = """exit codes:
  0 done   1 the operation failed   2 usage or invalid input
  3 something required could not be reached or found
  4 a verification or comparison failed
  5 no usable Docker engine   130 interrupted
"""
_COMPLETION_EXAMPLES = """\
  eval "$(runpod-comfy completion bash)"       # in ~/.bashrc
  eval "$(runpod-comfy completion zsh)"        # in ~/.zshrc, after compinit
  runpod-comfy completion fish | source        # in ~/.config/fish/config.fish
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
    ):
        module.add_parser(commands)
    _add_completion(commands)
    return parser


def _add_completion(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "completion",
        run=_print_completion,
        summary="Print what makes a shell complete commands, options and version ids.",
        details="The examples say where it goes.",
        examples=_COMPLETION_EXAMPLES,
        json=False,
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell that reads it")


def answer_shell(parser: Parser) -> None:
    """If a shell asks what could come next, answers it and ends the program."""
    if "_ARGCOMPLETE" in os.environ:
        from argcomplete import autocomplete

        autocomplete(parser, always_complete_options=False)


def _print_completion(arguments: argparse.Namespace, console: Console) -> int:
    from argcomplete.shell_integration import shellcode

    console.result(shellcode(["runpod-comfy"], shell=arguments.shell).strip(), {})
    return 0


def run_command_line(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code; an error is printed as one sentence.

    With `--json` the error is also the one document on standard output.
    """
    console = Console(as_json="--json" in arguments)
    try:
        parser = build_parser()
        answer_shell(parser)
        try:
            parsed = parser.parse_args(arguments)
            console = Console(as_json=parsed.as_json, verbose=parsed.verbose)
            with faults_said(console.say):
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
