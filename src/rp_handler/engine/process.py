"""One ComfyUI process on loopback, from its start to its certain end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from comfy_errors import InvalidInputError, UnavailableError
from rp_handler.engine.command import (
    LOOPBACK,
    EngineFolders,
    EngineSetup,
    engine_command,
    engine_environment,
    needs_cpu,
    runs_on_cpu,
)
from rp_handler.engine.cuda_driver import driver_cuda, require_driver
from rp_handler.engine.log import follow, last_lines
from rp_handler.errors import EngineCrashedError, EngineStartError

START_TIMEOUT_S = 600.0

_POLL_S = 0.05
# With what comes before and after, a container ends within 5 seconds of the request.
_GRACE_S = 3.0
_TRIES = 3

# The engine leads a process group of its own. Beside it, in the same group, a shell waits for the
# end of our pipe, which comes when we stop the engine and also when we are killed outright; then
# it kills the engine, removes its temporary folders and kills the whole group, whatever the custom
# nodes have started. `$$` is the engine's id, because `exec` keeps it.
_GUARDED_START = """
scratch=$1
shift
exec 3<&0 </dev/null
(
    trap '' HUP INT TERM
    cat <&3
    kill -KILL "$$"
    rm -rf -- "$scratch"
    kill -KILL "-$$"
) >/dev/null 2>&1 &
exec 3<&-
exec "$@"
"""


class Engine:
    """A running ComfyUI; use it as `async with Engine(setup) as engine`.

    `port` is the port to serve on, None for a free one. `log_say` hears each
    line of the engine's log. At the end of the block the process and all that it started are
    gone, and so are its temporary folders.

    Raises UnavailableError for a taken port and EngineStartError when it ends before it is
    ready, is not ready after `start_timeout_s` seconds, or needs another driver.
    """

    def __init__(
        self,
        setup: EngineSetup,
        *,
        port: int | None = None,
        log_say: Callable[[str], None] | None = None,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        self._setup = setup
        self._asked_port = port
        self._log_say = log_say
        self._start_timeout_s = start_timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Task[int] | None = None
        self._follower: asyncio.Task[None] | None = None
        self._scratch: Path | None = None
        self._lifeline: int | None = None
        self.port = 0
        self.start_ms = 0
        self.stats: dict[str, Any] = {}

    @property
    def url(self) -> str:
        """The engine's address as seen from here, without a slash at the end."""
        return f"http://{_here(self._setup.listen)}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> asyncio.Task[int]:
        """Done when the process has ended; its result is the exit status."""
        assert self._ended is not None
        return self._ended

    async def __aenter__(self) -> Engine:
        handle, log = tempfile.mkstemp(prefix="comfy-engine-", suffix=".log")
        os.close(handle)
        self.log = Path(log)
        try:
            await self._start()
        except BaseException as error:
            await self._end(keep_log=isinstance(error, EngineCrashedError))
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._end(keep_log=isinstance(error, EngineCrashedError))

    def crashed(self, when: str) -> EngineCrashedError:
        """The error that tells how the process ended `when` ("while it ran node 3")."""
        status = self._ended.result() if self._ended and self._ended.done() else None
        lines = last_lines(self.log)
        quoted = "".join(f"\n  {line}" for line in lines) or "\n  (nothing)"
        remedy = f"The whole log is {self.log}."
        if status == -signal.SIGKILL:
            remedy += " Killed like this, it may have used up the machine's memory."
        # It has told its stats when it was ready, and not before.
        kind = EngineCrashedError if self.stats else EngineStartError
        return kind(
            f"ComfyUI {_ending(status)} {when}; the last lines of its log:{quoted}",
            remedy=remedy,
            details={"status": status, "log": lines},
        )

    def _make_folders(self, scratch: Path) -> EngineFolders:
        folders = EngineFolders(
            input=self._setup.input_folder or scratch / "input",
            output=self._setup.output_folder or scratch / "output",
            user=self._setup.user_folder or scratch / "user",
            temp=scratch / "temp",
        )
        for folder in (folders.input, folders.output, folders.user, scratch / "home"):
            folder.mkdir(parents=True, exist_ok=True)
        return folders

    async def _start(self) -> None:
        began = time.monotonic()
        if not runs_on_cpu(self._setup, os.environ):
            require_driver(self._setup.cuda, driver_cuda())
        for attempt in range(_TRIES):
            host = self._setup.listen
            asked = self._asked_port
            self.port = free_port(host) if asked is None else claim_port(asked, host)
            self._scratch = Path(tempfile.mkdtemp(prefix="comfy-engine-"))
            self.folders = self._make_folders(self._scratch)
            await self._spawn()
            try:
                await self._wait_until_ready(began)
                break
            except EngineCrashedError:
                # Between our choice of a free port and its use, another may have taken it.
                lost = self.ended.done() and is_taken(self.port, host)
                if self._asked_port is not None or not lost or attempt == _TRIES - 1:
                    raise
                await self._stop_process()
        self.start_ms = round((time.monotonic() - began) * 1000)

    async def _spawn(self) -> None:
        command = engine_command(
            self._setup,
            self.folders,
            port=self.port,
            database=self._setup.database or self.folders.temp.parent / "comfyui.db",
            needs_cpu=needs_cpu(os.environ),
        )
        assert self._scratch is not None
        watched, self._lifeline = os.pipe()
        try:
            with self.log.open("wb") as log:
                self._process = await asyncio.create_subprocess_exec(
                    "/bin/sh",
                    "-c",
                    _GUARDED_START,
                    "comfy-engine",
                    str(self._scratch),
                    *command,
                    cwd=self._setup.core,
                    env=engine_environment(
                        self._setup, os.environ, spare_home=self._scratch / "home"
                    ),
                    stdin=watched,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        finally:
            os.close(watched)
        self._ended = asyncio.create_task(self._process.wait())
        if self._log_say is not None:
            self._follower = asyncio.create_task(follow(self.log, self._log_say))

    async def _wait_until_ready(self, began: float) -> None:
        timeout = aiohttp.ClientTimeout(total=self._start_timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                if await self._answers(session):
                    return
                if self.ended.done():
                    raise self.crashed("before it was ready")
                if time.monotonic() - began > self._start_timeout_s:
                    raise self.crashed(f"after {self._start_timeout_s:.0f} seconds")
                await asyncio.wait({self.ended}, timeout=_POLL_S)

    async def _answers(self, session: aiohttp.ClientSession) -> bool:
        request = asyncio.ensure_future(_get_stats(session, f"{self.url}/system_stats"))
        remaining = self._start_timeout_s
        await asyncio.wait(
            {request, self.ended}, timeout=remaining, return_when=asyncio.FIRST_COMPLETED
        )
        if not request.done():
            request.cancel()
            return False
        stats = request.result()
        if stats is None or self.ended.done():
            return False
        # Another server may have taken the port: ours was told of our temporary folder.
        arguments = (stats.get("system") or {}).get("argv")
        if arguments is not None and str(self.folders.temp.parent) not in arguments:
            return False
        self.stats = stats
        return True

    async def _end(self, *, keep_log: bool) -> None:
        try:
            await self._stop_process()
        finally:
            if not keep_log:
                self.log.unlink(missing_ok=True)

    async def _stop_process(self) -> None:
        try:
            if self._process is not None and self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.terminate()
                await asyncio.wait({self.ended}, timeout=_GRACE_S)
        finally:
            if self._process is not None:
                # With its guard and all that its nodes have started. macOS does not permit to
                # signal a group of which only a dead process is left.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            if self._lifeline is not None:
                os.close(self._lifeline)
                self._lifeline = None
            if self._follower is not None:
                self._follower.cancel()
            if self._scratch is not None:
                shutil.rmtree(self._scratch, ignore_errors=True)
        if self._ended is not None:
            await self._ended


async def _get_stats(session: aiohttp.ClientSession, url: str) -> dict[str, Any] | None:
    try:
        async with session.get(url) as response:
            if response.status != 200:
                return None
            document = await response.json()
            return document if isinstance(document, dict) else None
    except (aiohttp.ClientError, OSError, ValueError, TimeoutError):
        return None


def free_port(host: str = LOOPBACK) -> int:
    """A port of the address `host` that nobody uses at this moment."""
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def is_taken(port: int, host: str = LOOPBACK) -> bool:
    """True if somebody serves on this port of the address `host`."""
    with socket.socket(_family(host)) as probe:
        # As servers do: a port that is only cooling down after its last server is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def claim_port(port: int, host: str = LOOPBACK) -> int:
    """`port`, if a server may use it. Raises InvalidInputError or UnavailableError."""
    if not 1 <= port <= 65535:
        raise InvalidInputError(
            f"{port} is not a port.", remedy="Give a port from 1 to 65535, or leave --port out."
        )
    if is_taken(port, host):
        raise UnavailableError(
            f"The port {port} on {host} is taken.",
            remedy="Give another one with --port, or leave it out to use a free one.",
        )
    return port


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _here(host: str) -> str:
    """What reaches a server on `host` from this machine, as URLs have it."""
    host = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def _ending(status: int | None) -> str:
    if status is None:
        return "was not ready"
    if status < 0:
        return f"was killed by signal {-status} ({signal.Signals(-status).name})"
    return f"ended with status {status}"
