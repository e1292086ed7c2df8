"""Programs as whole processes: timed from outside, and ended with everything that they started."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from comfy_errors import OperationFailedError
from comfy_files.processes import end_group

_READY_S = 900
_GRACE_S = 30
_POLL_S = 0.02
_TAIL_LINES = 25
# Linux counts in KiB, macOS in bytes.
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, kw_only=True)
class Program:
    """A command with its variables, working directory and log; arguments are added by a call."""

    command: tuple[str, ...]
    variables: Mapping[str, str]
    folder: Path
    log: Path

    def seconds(self, *arguments: str | Path) -> float:
        """Runs to the end and gives its wall time. Raises OperationFailedError if it fails."""
        return self.seconds_and_peak(*arguments)[0]

    def seconds_and_peak(self, *arguments: str | Path) -> tuple[float, int]:
        """The same, and the bytes of memory that the largest of its processes had at its peak.

        A new program takes over the peak of the one that starts it, so that less than that of this
        process is not seen.
        """
        started = time.monotonic()
        with self.running(*arguments) as process:
            _, status, used = os.wait4(process.pid, 0)
            took = time.monotonic() - started
            code = process.returncode = os.waitstatus_to_exitcode(status)
        if code != 0:
            raise self.failure(f"ended with {code}")
        return took, used.ru_maxrss * _MAXRSS_BYTES

    def document(self, *arguments: str | Path) -> tuple[float, Any]:
        """The same, and the JSON document that the program printed on standard output."""
        with tempfile.TemporaryFile() as out:
            started = time.monotonic()
            with self.running(*arguments, out=out) as process:
                code = process.wait()
            took = time.monotonic() - started
            if code != 0:
                raise self.failure(f"ended with {code}")
            out.seek(0)
            return took, json.load(out)

    def seconds_until_ready(
        self, *arguments: str | Path, port: int, then: Callable[[int], None] | None = None
    ) -> float:
        """The time from the start until an engine answers on `port`, and until `then` of the port
        returns; after that the program is ended."""
        started = time.monotonic()
        with self.running(*arguments) as process:
            while not _answers(port):
                if process.poll() is not None:
                    raise self.failure(f"ended with {process.returncode} before it was ready")
                if time.monotonic() - started > _READY_S:
                    raise self.failure(f"was not ready after {_READY_S} s")
                time.sleep(_POLL_S)
            if then is not None:
                then(port)
            return time.monotonic() - started

    @contextmanager
    def running(
        self, *arguments: str | Path, out: IO[bytes] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """The process, which leads a session of its own and is ended after the block."""
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [*self.command, *map(str, arguments)],
                cwd=self.folder,
                env=dict(self.variables),
                stdin=subprocess.DEVNULL,
                stdout=out or log,
                stderr=log,
                start_new_session=True,
            )
            try:
                yield process
            finally:
                # A launcher may leave what it launched behind.
                end_group(process, grace_s=_GRACE_S)

    def failure(self, what: str) -> OperationFailedError:
        """The error for a program that did `what`, with the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return OperationFailedError(
            f"{self.command[0]} {what}:" + "".join(f"\n  {line}" for line in lines),
            remedy="Fix what it says, then run the benchmark again.",
        )


def free_port() -> int:
    """A port of the loopback interface that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    """True if a server on the loopback interface accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/system_stats")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
