"""One ComfyUI process on loopback, from its start to its guaranteed end, and its log file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from comfy_errors import UnavailableError
from comfy_errors.names import in_lines
from comfy_files.processes import inheritable_descriptors
from rp_handler.engine.command import (
    LOOPBACK,
    EngineFolders,
    EngineSetup,
    confined,
    engine_command,
    engine_environment,
    runs_on_cpu,
)
from rp_handler.engine.cuda_driver import driver_cuda, require_driver
from rp_handler.engine.gpu_memory import PeakMemory
from rp_handler.engine.imports import ImportReport, hook_variables, read_report
from rp_handler.engine.node_report import NodeOutputReport, read_node_outputs
from rp_handler.errors import EngineCrashedError, EngineStartError

_START_TIMEOUT_S = 600.0
_POLL_S = 0.05
# Together with the steps before and after, a container ends within 5 seconds of the request.
_GRACE_S = 3.0
_TRIES = 3

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_TAIL_BYTES = 64 * 1024
_LONG_LOG_BYTES = 1024 * 1024
_FOLLOW_EVERY_S = 0.1

# The engine leads its own process group. In the same group, a shell waits for the end of our pipe,
# which comes when we stop the engine or are killed. It then kills the engine, removes its temporary
# folders and kills the whole group, including anything the custom nodes started. `$$` is the
# engine's process id, because `exec` keeps it.
_GUARDED_START = """
lifeline=$1
scratch=$2
shift 2
(
    trap '' HUP INT TERM
    read -r _ <"/dev/fd/$lifeline"
    kill -KILL "$$"
    rm -rf -- "$scratch"
    kill -KILL "-$$"
) >/dev/null 2>&1 &
exec "$@"
"""


class Engine:
    """A running ComfyUI; use it as `async with Engine(setup) as engine`.

    `port` is the port to serve on, None for a free one. `log_say` receives each line of the
    engine's log, whose file stays after a crash if it `keeps_log`. If it `hashes_nodes`, it hashes
    what each node gives. At the end of the block the process, everything it started and its
    temporary folders are gone.

    Raises UnavailableError for a port in use and EngineStartError if the engine ends before it is
    ready, is not ready in time, or needs another driver.
    """

    def __init__(
        self,
        setup: EngineSetup,
        *,
        port: int | None = None,
        log_say: Callable[[str], None] | None = None,
        keeps_log: bool = True,
        hashes_nodes: bool = False,
    ) -> None:
        self._setup = setup
        self._asked_port = port
        self._log_say = log_say
        self._keeps_log = keeps_log
        self._hashes_nodes = hashes_nodes
        self._stack = contextlib.AsyncExitStack()
        self.port = 0
        self.start_ms = 0
        self.stats: dict[str, Any] = {}
        # Where the part of the log begins that a failure may quote: that of one job.
        self.log_begin = 0
        self._log_removed_bytes = 0
        self._import_report = Path()
        self._node_report: Path | None = None
        self._imports = ImportReport(is_observed=False, events=[])

    @property
    def url(self) -> str:
        """The engine's URL on this machine, without a slash at the end."""
        return f"http://{_here(self._setup.listen)}:{self.port}"

    async def __aenter__(self) -> Engine:
        handle, log = tempfile.mkstemp(prefix="comfy-engine-", suffix=".log")
        os.close(handle)
        self.log = Path(log)
        try:
            await self._start()
        except BaseException as error:
            await self.__aexit__(None, error, None)
            raise
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        try:
            await self._stack.aclose()
        finally:
            if not (self._keeps_log and isinstance(error, EngineCrashedError)):
                self.log.unlink(missing_ok=True)

    def shorten_log(self) -> None:
        """Keeps only the end of a long log. What it writes at this moment may be lost."""
        with self.log.open("r+b") as stream:
            if stream.seek(0, os.SEEK_END) <= _LONG_LOG_BYTES:
                return
            removed = stream.seek(-_TAIL_BYTES, os.SEEK_END)
            end = stream.read()
            stream.truncate(0)
        with self.log.open("ab") as stream:
            stream.write(end)
        self._log_removed_bytes += removed

    def crashed(self, when: str) -> EngineCrashedError:
        """The error for a process that ended `when` ("while running node 3")."""
        status = self.ended.result() if self.ended.done() else None
        lines = last_lines(self.log, begin=self.log_begin)
        quoted = in_lines(lines) or "\n  (nothing)"
        remedies = [f"The whole log is {self.log}."] if self._keeps_log else []
        if status == -signal.SIGKILL:
            remedies.append("The machine may have run out of memory.")
        # It reports its statistics once it is ready, not before.
        kind = EngineCrashedError if self.stats else EngineStartError
        return kind(
            f"ComfyUI {_ending(status)} {when}{self._importing()}; the last lines of its "
            f"log:{quoted}",
            remedy=" ".join(remedies),
            details={"status": status, "log": lines},
        )

    @property
    def imports(self) -> ImportReport:
        """How the core executed the modules of nodes: so far, or until its end."""
        if self._import_report.exists():
            self._imports = read_report(self._import_report)
        return self._imports

    def node_outputs(self, prompt_id: str) -> NodeOutputReport | None:
        """What the nodes of a prompt gave; None if it does not hash that. Reads a file."""
        return read_node_outputs(self._node_report, prompt_id) if self._node_report else None

    async def peak_vram_bytes(self) -> int | None:
        """The most GPU memory that PyTorch used since this was asked last; None without a GPU."""
        kinds = [device.get("type") for device in self.stats.get("devices") or ()]
        return await self._peak_memory.ask() if "cuda" in kinds else None

    def _importing(self) -> str:
        """The node whose code ran when the engine ended, if it never became ready."""
        module = self.imports.last_executed
        if self.stats or module is None:
            return ""
        raised = f": {module.chain[0].in_words}" if module.chain else ""
        return f", while it executed {module.title} ({module.file}{raised})"

    async def _start(self) -> None:
        began = time.monotonic()
        if not runs_on_cpu(self._setup.arguments, self._setup.variables, os.environ):
            require_driver(self._setup.cuda, driver_cuda())
        host, asked = self._setup.listen, self._asked_port
        for attempt in range(_TRIES):
            self.port = free_port(host) if asked is None else claim_port(asked, host)
            await self._spawn()
            try:
                await self._wait_until_ready(began)
                break
            except EngineCrashedError:
                # Another program may have taken the free port before the engine used it.
                lost = self.ended.done() and is_taken(self.port, host)
                if asked is not None or not lost or attempt == _TRIES - 1:
                    raise
                await self._stack.aclose()
        self.start_ms = round((time.monotonic() - began) * 1000)

    async def _spawn(self) -> None:
        """Starts the process. `ended` completes with the exit status when the process ends."""
        setup = self._setup
        scratch = Path(tempfile.mkdtemp(prefix="comfy-engine-"))
        self._stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        self.folders = folders = EngineFolders(
            input=setup.input_folder or scratch / "input",
            output=setup.output_folder or scratch / "output",
            user=setup.user_folder or scratch / "user",
            temp=scratch / "temp",
        )
        for folder in (folders.input, folders.output, folders.user, scratch / "home"):
            folder.mkdir(parents=True, exist_ok=True)
        self._import_report = scratch / "imports.jsonl"
        self._import_report.touch()
        if self._hashes_nodes:
            self._node_report = scratch / "node-outputs.jsonl"
            self._node_report.touch()
        environment = engine_environment(setup, os.environ, spare_home=scratch / "home")
        self._peak_memory = peak_memory = PeakMemory()
        self._stack.callback(peak_memory.close)
        environment |= hook_variables(
            environment,
            core=setup.core,
            report=self._import_report,
            memory=peak_memory.theirs,
            left_out=setup.left_out,
            node_outputs=self._node_report,
        )
        command = engine_command(
            setup,
            folders,
            port=self.port,
            database=setup.database or scratch / "comfyui.db",
            needs_cpu=runs_on_cpu(setup.arguments, setup.variables, os.environ),
        )
        watched, lifeline = os.pipe()
        guarded = ["/bin/sh", "-c", _GUARDED_START, "comfy-engine", str(watched), str(scratch)]
        self._stack.callback(os.close, lifeline)
        try:
            # Appended to, so that it can be shortened while the engine runs.
            with self.log.open("ab") as log:
                log.truncate(0)
                if self._log_say is not None:
                    following = follow(self.log, self._log_say, lambda: self._log_removed_bytes)
                    follower = asyncio.create_task(following)
                    self._stack.callback(follower.cancel)
                process = await asyncio.create_subprocess_exec(
                    *confined([*guarded, *command], setup, folders, environment),
                    cwd=setup.core,
                    env=environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=(*inheritable_descriptors(), watched, peak_memory.theirs),
                )
        finally:
            os.close(watched)
            peak_memory.handed_over()
        self.pid = process.pid
        self.ended = asyncio.create_task(process.wait())
        self._stack.push_async_callback(self._stop, process)

    async def _wait_until_ready(self, began: float) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                remaining = _START_TIMEOUT_S - (time.monotonic() - began)
                request = asyncio.ensure_future(_get_stats(session, f"{self.url}/system_stats"))
                await asyncio.wait(
                    {request, self.ended},
                    timeout=max(0.0, remaining),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                stats = request.result() if request.done() else {}
                request.cancel()
                if self.ended.done():
                    raise self.crashed("before it was ready")
                # Another server may have taken the port: only our engine has our temporary folder.
                arguments = (stats.get("system") or {}).get("argv")
                if stats and (arguments is None or str(self.folders.temp.parent) in arguments):
                    self.stats = stats
                    return
                if remaining < 0:
                    raise self.crashed(f"after {_START_TIMEOUT_S:.0f} seconds")
                await asyncio.wait({self.ended}, timeout=_POLL_S)

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        try:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                await asyncio.wait({self.ended}, timeout=_GRACE_S)
        finally:
            # Includes its guard and everything its nodes started. macOS does not permit signalling
            # a group that only has a dead process left.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        await self.ended


async def _get_stats(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """The engine's statistics, empty while it does not answer."""
    with contextlib.suppress(aiohttp.ClientError, OSError, ValueError):
        async with session.get(url) as response:
            document = await response.json() if response.status == 200 else None
            return document if isinstance(document, dict) else {}
    return {}


def free_port(host: str = LOOPBACK) -> int:
    """A port of the address `host` that is free at this moment."""
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def is_taken(port: int, host: str = LOOPBACK) -> bool:
    """True if a server listens on this port of the address `host`."""
    with socket.socket(_family(host)) as probe:
        # As servers do: a port in TIME_WAIT after its last server counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def claim_port(port: int, host: str = LOOPBACK) -> int:
    """Returns `port` if a server can use it. Raises UnavailableError."""
    if is_taken(port, host):
        raise UnavailableError(
            f"Port {port} on {host} is in use.",
            remedy="Pass another one with --port, or leave it out to use a free one.",
        )
    return port


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _here(host: str) -> str:
    """The host part of a URL that reaches a server on `host` from this machine."""
    host = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def _ending(status: int | None) -> str:
    if status is None:
        return "was not ready"
    if status < 0:
        return f"was killed by signal {-status} ({signal.Signals(-status).name})"
    return f"ended with status {status}"


def last_lines(path: Path, count: int = 15, *, begin: int = 0) -> list[str]:
    """The last `count` non-empty lines after the offset `begin`, without colours and overwritten
    progress bars.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(begin, stream.tell() - _TAIL_BYTES))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    lines = [_plain(line) for line in text.split("\n")]
    return [line for line in lines if line][-count:]


async def follow(
    path: Path, say: Callable[[str], None], removed_bytes: Callable[[], int] = lambda: 0
) -> None:
    """Passes on each line of the log as it is written, until cancelled; then the rest.

    `removed_bytes` is how much was removed from the beginning of the log so far.
    """
    begun, removed = b"", removed_bytes()
    with path.open("rb") as stream:
        try:
            while True:
                stream.seek(max(0, stream.tell() - (removed_bytes() - removed)))
                removed = removed_bytes()
                *whole, begun = (begun + stream.read()).split(b"\n")
                _say_lines(whole, say)
                await asyncio.sleep(_FOLLOW_EVERY_S)
        finally:
            _say_lines((begun + stream.read()).split(b"\n"), say)


def _say_lines(lines: list[bytes], say: Callable[[str], None]) -> None:
    for line in lines:
        text = _plain(line.decode("utf-8", errors="replace"))
        if text:
            say(text)


def _plain(line: str) -> str:
    return _ESCAPES.sub("", line.rstrip()).rsplit("\r", 1)[-1].rstrip()
