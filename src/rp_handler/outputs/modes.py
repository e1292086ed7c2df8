"""The sink of each `--output` and OUTPUT_MODE."""

from __future__ import annotations

from pathlib import Path

from comfy_errors import InvalidInputError, OperationFailedError
from comfy_files.files import can_write
from comfy_home.output_modes import OUTPUT_MODES
from rp_handler.outputs.files import FilesSink
from rp_handler.outputs.inline import Base64Sink
from rp_handler.outputs.sink import OutputSink

_LATER_MODES = ("gcs", "s3")


def check_output_mode(mode: str) -> str:
    """Returns `mode` if outputs can be delivered that way. Raises InvalidInputError."""
    if mode in OUTPUT_MODES:
        return mode
    choice = "Use --output base64 or --output files."
    if mode in _LATER_MODES:
        raise InvalidInputError(f"--output {mode} is not supported yet.", remedy=choice)
    raise InvalidInputError(f'"{mode}" is not an output mode.', remedy=choice)


def sink_for(mode: str, *, output_dir: Path, workflow_name: str) -> OutputSink:
    """The sink of `mode`. Raises InvalidInputError, or OperationFailedError for the folder."""
    if check_output_mode(mode) == "base64":
        return Base64Sink()
    # Fails now, not after a run of many minutes.
    if not can_write(output_dir):
        raise OperationFailedError(
            f"{output_dir} is not writable.",
            remedy="Name another folder with --output-dir, or use --output base64.",
        )
    return FilesSink(output_dir, workflow_name)
