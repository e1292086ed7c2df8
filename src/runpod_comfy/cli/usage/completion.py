"""`completion`: lets a shell complete commands, options and version ids. argcomplete does it."""

from __future__ import annotations

import argparse
import os

from runpod_comfy.cli.options import Subparsers, add_command
from runpod_comfy.cli.show.console import Console
from runpod_comfy.cli.usage.parser import Parser

_EXAMPLES = """\
  eval "$(runpod-comfy completion bash)"       # in ~/.bashrc
  eval "$(runpod-comfy completion zsh)"        # in ~/.zshrc, after compinit
  runpod-comfy completion fish | source        # in ~/.config/fish/config.fish
"""


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "completion",
        run=_run,
        summary="Print what makes a shell complete commands, options and version ids.",
        details="The examples say where it goes.",
        examples=_EXAMPLES,
        json=False,
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell that reads it")


def answer_shell(parser: Parser) -> None:
    """If a shell asks what could come next, answers it and ends the program."""
    if "_ARGCOMPLETE" in os.environ:
        from argcomplete import autocomplete

        autocomplete(parser, always_complete_options=False)


def _run(arguments: argparse.Namespace, console: Console) -> int:
    from argcomplete.shell_integration import shellcode

    console.result(shellcode(["runpod-comfy"], shell=arguments.shell).strip(), {})
    return 0
