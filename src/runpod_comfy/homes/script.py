"""Runs the script of a layer on this machine, and explains a failure."""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from comfy_errors import (
    ComfyError,
    MismatchError,
    OperationFailedError,
    UnavailableError,
    error_at_the_end,
    error_kind,
)
from comfy_errors.names import in_lines
from comfy_files.parallel import end_if_interrupted
from comfy_files.processes import end_group
from comfy_files.progress import NOTE
from comfy_http.redaction import without_secrets
from runpod_comfy.homes.environment import (
    Package,
    StandIn,
    find_interpreter,
    requirements_with,
    stored_indexes,
)
from runpod_comfy.homes.home import Realization
from runpod_comfy.layers.plan import ENVIRONMENT, Layer, TreeInput
from runpod_comfy.lock.python.building import build_remedy
from runpod_comfy.sources.index.pip_settings import (
    install_script_variables,
    outside_variables,
    read_pip_settings,
    uv_program,
    uv_variables,
)

_TAIL_LINES = 12
_GRACE_S = 10
_LOOK_S = 0.2
CONTROL_SEQUENCE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
# Wide enough for the longest name of a package beside its bar.
_DRAWN_SIZE = os.terminal_size((160, 50))
_WRONG_BYTES = "Hash mismatch for"
_DAMAGED = "Failed to extract archive"
_DISK_REFUSED = "os error"
_NO_SPACE = "No space left on device"
_OUT_OF_REACH = (
    "Failed to fetch",
    "error sending request",
    "network connectivity is disabled",
    "was disabled",
    "was not found in the",
    "there is no version of",
)
"""Messages of uv 0.8 and later if an index or a file could not be reached."""


# Beside the command, in its group, a shell waits for the end of a pipe that only this program
# holds, which comes at the latest when that is killed; then it kills the group. `$$` is the
# command's id, because `exec` keeps it. The shell itself reads: a program for it, such as
# `cat`, may not be on the PATH, and without it the command would be killed at once.
_GUARDED = """
lifeline=$1
shift
(
    trap '' HUP INT TERM
    read -r _ <"/dev/fd/$lifeline"
    kill -KILL "-$$"
) >/dev/null 2>&1 &
exec "$@"
"""


@dataclass(frozen=True, kw_only=True)
class LayerContext:
    """The inputs of a realization's scripts.

    `venv` is the Python environment, `logs` the folder for output. `packages` are what they
    install, `stand_ins` the wheels that they install for sdists, `trees` the fetched trees by hash,
    `lock_fds` the locks of the home and the cache, which a script holds while it runs.
    """

    job: Realization
    venv: Path
    logs: Path
    packages: Sequence[Package]
    stand_ins: Sequence[StandIn] = ()
    trees: Mapping[str, Path] = field(default_factory=dict)
    lock_fds: tuple[int, ...]

    @property
    def check_report(self) -> Path:
        return self.logs / "check-report.json"

    def log_of(self, layer: Layer) -> Path:
        return self.logs / f"{layer.name.replace(':', '-')}.log"


def build_layer(
    layer: Layer, context: LayerContext, on_output: Callable[[bytes], None] | None = None
) -> None:
    """Runs a layer's script. Raises a ComfyError with the end of its output if it fails.

    `on_output` gets the output as it comes, drawn as on a terminal.
    """
    job = context.job
    with job.cache.scratch("layer") as inputs:
        for each in layer.inputs:
            if isinstance(each, TreeInput):
                (inputs / each.name).symlink_to(context.trees[each.digest])
            else:
                text = each.text
                if context.stand_ins and layer.kind in ENVIRONMENT:
                    text = requirements_with(
                        layer.distributions(job.lock.python), context.stand_ins
                    )
                (inputs / each.name).write_text(text, encoding="utf-8")
        run_script(
            ["/bin/sh", str(layer.script)],
            title=f"the layer {layer.name}",
            environment=_variables(layer, inputs, context),
            log=context.log_of(layer),
            show=job.show,
            keep_open=context.lock_fds,
            on_output=on_output,
            ends_in_words=layer.kind == "check",
        )


def _variables(layer: Layer, inputs: Path, context: LayerContext) -> dict[str, str]:
    return {
        **outside_variables(),
        **_packages(layer, context),
        "OFFLINE": "1" if context.job.offline else "0",
        "HANDLER_PYTHON": sys.executable,
        "HANDLER_PATH": os.pathsep.join(path for path in sys.path if path),
        "CHECK_REPORT": str(context.check_report),
        **layer.variables(
            target="host",
            inputs=str(inputs),
            home=str(context.job.home.root),
            venv=str(context.venv),
        ),
    }


def _packages(layer: Layer, context: LayerContext) -> dict[str, str]:
    """For a layer that installs packages: the installer, and where packages come from."""
    job = context.job
    if layer.kind == "install":
        return install_script_variables(read_pip_settings(), os.environ, wheels_dir=job.wheels_dir)
    python = job.lock.python
    if layer.kind not in ENVIRONMENT:
        return {}
    distributions = layer.distributions(python)
    packages = [each for each in context.packages if each.distribution in distributions]
    return {
        "UV": str(uv_program()),
        "PYTHON": str(find_interpreter(python.version)),
        "UV_CACHE_DIR": str(job.cache.uv),
        # Within the cache; uv itself copies, and says so, if that is not possible.
        "UV_LINK_MODE": "hardlink",
        **uv_variables(
            read_pip_settings(),
            os.environ,
            wheels_dir=job.wheels_dir,
            first_index=python.torch_index if layer.kind == "torch" else None,
            stored=stored_indexes(packages, job.cache, offline=job.offline),
        ),
    }


def run_script(
    command: Sequence[str],
    *,
    title: str,
    environment: Mapping[str, str],
    log: Path,
    show: BinaryIO | None = None,
    keep_open: Sequence[int] = (),
    on_output: Callable[[bytes], None] | None = None,
    ends_in_words: bool = False,
) -> None:
    """Runs `command` to its end; its output goes to the file `log`, and to `show` and
    `on_output` as it arrives.

    With `on_output` the command has a terminal: uv draws its progress bars only on one.
    `title` names the step in an error. The output of a program that `ends_in_words` ends in its own
    error, which is raised as it is. `keep_open` are file descriptors that the command inherits.
    When this ends, also when this process is killed, everything the command started is stopped.
    Raises a ComfyError with the end of the output: MismatchError if a download had other bytes than
    pinned, UnavailableError if something could not be reached, else OperationFailedError.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    reader, writer = _output_ends(show, draws=on_output is not None)
    with (
        os.fdopen(reader, "rb", buffering=0) as output,
        log.open("wb") as stream,
        _lifeline() as watched,
    ):
        process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARDED, "layer", str(watched), *command],
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            env={**environment, **({} if on_output is None else {"TERM": "xterm"})},
            cwd=log.parent,
            start_new_session=True,
            pass_fds=(*keep_open, watched),
        )
        os.close(writer)
        try:
            for chunk in _chunks(output.fileno()):
                stream.write(chunk)
                if on_output is not None:
                    on_output(chunk)
                if show is not None:
                    show.write(chunk)
                    show.flush()
            exit_code = process.wait()
        except BaseException:
            end_group(process, grace_s=_GRACE_S)
            raise
    if on_output is not None:
        # People read it, and what was drawn is of no use any more.
        log.write_text("".join(f"{line}\n" for line in _readable_lines(log)), "utf-8")
    if exit_code != 0:
        raise (_own_error(exit_code, log) if ends_in_words else None) or _failure(
            title, exit_code, log
        )


def notes_in(log: Path) -> list[str]:
    """What a layer's script says to the user: its lines that start with `Note: `."""
    return [line for line in _readable_lines(log) if line.startswith(NOTE)]


@contextlib.contextmanager
def _lifeline() -> Iterator[int]:
    """The reading end of a pipe whose other end is closed when the block ends."""
    watched, held = os.pipe()
    try:
        yield watched
    finally:
        os.close(held)
        os.close(watched)


def _output_ends(show: BinaryIO | None, *, draws: bool) -> tuple[int, int]:
    """Where to read the command's output, and where the command writes it: a terminal if it
    `draws`, and where its output is shown on one."""
    size = _DRAWN_SIZE
    if show is not None and show.isatty():
        size = os.get_terminal_size(show.fileno())
    elif not draws:
        return os.pipe()
    reader, writer = os.openpty()
    termios.tcsetwinsize(writer, (size.lines, size.columns))
    return reader, writer


def _chunks(reader: int) -> Iterator[bytes]:
    while True:
        # Checked regularly: a thread has no other way to learn that a command was cancelled.
        while not select.select([reader], [], [], _LOOK_S)[0]:
            end_if_interrupted()
        try:
            chunk = os.read(reader, 1 << 16)
        except OSError:
            # A Linux terminal's sign that no process writes to it any more.
            return
        if not chunk:
            return
        yield chunk


def _own_error(exit_code: int, log: Path) -> ComfyError | None:
    words = error_at_the_end(_readable_lines(log))
    if words is None:
        return None
    message, remedy = words
    return error_kind(exit_code)(message, remedy=f"{remedy} The whole output is in {log}.".strip())


def _failure(title: str, exit_code: int, log: Path) -> ComfyError:
    lines = _readable_lines(log)
    text = "\n".join(lines)
    end = in_lines(lines[-_TAIL_LINES:])
    message = f"{title} failed with exit code {exit_code}{':' if end else ''}{end}"
    remedy = (
        f"The whole output is in {log}. Fix the cause, then run the command again: it continues "
        "from this step."
    )
    if _NO_SPACE in text:
        return OperationFailedError(
            f"{message}\n  The disk is full.",
            remedy="Free some space there, then run the command again: it continues from this "
            "step.",
        )
    if lacking := build_remedy(text):
        remedy = f"{lacking} {remedy}"
    if _tells_of_wrong_bytes(text) or exit_code == MismatchError.exit_code:
        return MismatchError(message, remedy=remedy)
    lower = text.lower()
    if exit_code == UnavailableError.exit_code or any(
        sign.lower() in lower for sign in _OUT_OF_REACH
    ):
        return UnavailableError(message, remedy=remedy)
    return OperationFailedError(message, remedy=remedy)


def _tells_of_wrong_bytes(text: str) -> bool:
    """True if the output is that of wrong bytes. uv compares hashes after unpacking, so a damaged
    archive may fail earlier.
    """
    return _WRONG_BYTES in text or (_DAMAGED in text and _DISK_REFUSED not in text)


def _readable_lines(log: Path) -> list[str]:
    """The lines of a log as a terminal would finally show them: without colours and overwritten
    text. Credentials in URLs are left out.
    """
    text = CONTROL_SEQUENCE.sub(b"", log.read_bytes()).decode("utf-8", "replace")
    lines = [line.rstrip().rsplit("\r", 1)[-1] for line in text.replace("\r\n", "\n").split("\n")]
    return [without_secrets(line) for line in lines if line.strip()]
