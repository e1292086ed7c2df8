"""What the command line is there for: a workflow, ComfyUI's page, or RunPod's jobs."""

from __future__ import annotations

import argparse
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from comfy_errors import InvalidInputError
from rp_handler.engine.command import LOOPBACK
from rp_handler.home.choice import baked_home

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


def add_sdk_options(parser: argparse.ArgumentParser) -> None:
    """Flags of RunPod's SDK, which are handed on to it."""
    group = parser.add_argument_group("for jobs of RunPod, handed on to its SDK")
    for flag in _SDK_SWITCHES:
        group.add_argument(flag, action="store_true")
    for flag, metavar in _SDK_VALUES.items():
        group.add_argument(flag, metavar=metavar)


def sdk_arguments(options: argparse.Namespace) -> list[str]:
    """Those that were given, as the SDK reads them."""
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
    """The mode that flags ask for, else COMFY_MODE, else that of the environment.

    `folder` is the working directory: the SDK runs a `test_input.json` in it. Raises
    InvalidInputError where there is nothing to do.
    """
    asked = environment.get("COMFY_MODE") or None
    if asked not in (None, "ui"):
        raise InvalidInputError(
            f'COMFY_MODE is "{asked}".', remedy="Set it to ui for ComfyUI's page, or unset it."
        )
    if ui:
        return "ui"
    if workflow is not None:
        return "workflow"
    if sdk:
        return "worker"
    if asked == "ui":
        return "ui"
    if environment.get("RUNPOD_WEBHOOK_GET_JOB"):
        return "worker"
    if baked_home(environment) and (folder / "test_input.json").is_file():
        return "worker"
    raise InvalidInputError(
        "No workflow was given.",
        remedy="Name one with --workflow, serve ComfyUI's page with --ui, or take jobs as on "
        "RunPod with --rp_serve_api."
        if baked_home(environment)
        else "Name one with --workflow, or serve ComfyUI's page with --ui.",
    )


def choose_listen(environment: Mapping[str, str], *, asked: str | None, mode: Mode) -> str:
    """The address that ComfyUI serves its page on: any in an image, so that it is reached from
    outside of the container, and loopback elsewhere. Raises InvalidInputError."""
    if mode != "ui":
        if asked is not None:
            raise InvalidInputError(
                "ComfyUI listens on loopback only, unless it serves its page.",
                remedy="Use --listen together with --ui.",
            )
        return LOOPBACK
    usual = _EVERYWHERE if baked_home(environment) else LOOPBACK
    address = asked or environment.get("COMFY_LISTEN") or usual
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise InvalidInputError(
            f'"{address}" is not an IP address to listen on.',
            remedy=f"Give --listen or COMFY_LISTEN {LOOPBACK}, or {_EVERYWHERE} for any.",
        ) from error
    return address
