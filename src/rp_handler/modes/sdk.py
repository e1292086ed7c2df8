"""RunPod's SDK, which gets jobs from the platform or from its local API and returns results.

It runs in a thread: the main thread, which receives signals, belongs to the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import importlib.util
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from itertools import pairwise
from types import ModuleType
from typing import Any

from comfy_errors import UnavailableError
from comfy_files.files import os_reason
from rp_handler.errors import JobError
from rp_handler.interruption import in_thread
from rp_handler.job.device import processor_name
from rp_handler.job.live import Report, Update
from rp_handler.modes.progress_updates import ProgressUpdates

Answering = Callable[[Mapping[str, Any], Report], Coroutine[Any, Any, dict[str, Any]]]
"""Gives the result or the failure document of a job. It is cancelled if the platform stops it."""

# The variables that set the SDK's log level, unless `--rp_log_level` does.
_LOG_LEVELS = ("RUNPOD_LOG_LEVEL", "RUNPOD_DEBUG_LEVEL")
# For results on their way when the worker ends. The engine's grace period comes after it.
_SENDING_S = 1.0
# A job that is stopped at once may arrive after the request to stop it. The platform may send the
# same id again later, to have that job repeated.
_STOPPED_S = 5.0
# The SDK looks ten times a second whether it has a job to start, and once a second whether it may
# take one. Its longer pauses are those that the platform asks for.
_LONGEST_LOOK_S = 1.0
# Where the SDK serves its local API by default.
_API_HOST, _API_PORT = "localhost", "8000"


def require_sdk() -> None:
    """Raises UnavailableError without the SDK."""
    if importlib.util.find_spec("runpod") is None:
        raise UnavailableError(
            "RunPod's SDK, which takes jobs, is not installed here",
            remedy="Use an image, which has it, or install it: pip install 'runpod-comfy[worker]'; "
            "in a clone: make venv DEV=1",
        )


def load_sdk() -> Any:
    """The module `runpod.serverless`, without what takes it most of its time to load."""
    # Loaded for its command line alone, which is a third of the time and 12 MB.
    sys.modules.setdefault("paramiko", ModuleType("paramiko"))
    # Asked for the name of the processor, it starts programs for about a second.
    processor = ModuleType("cpuinfo")
    vars(processor)["get_cpu_info"] = lambda: {"brand_raw": processor_name()}
    sys.modules.setdefault("cpuinfo", processor)
    import runpod.serverless  # type: ignore[import-untyped]

    return runpod.serverless


def require_api_port(arguments: Sequence[str]) -> None:
    """Raises UnavailableError if the SDK is to serve its local API at an address that it cannot
    use: it would find out only once the engine is up.
    """
    if "--rp_serve_api" not in arguments:
        return
    given = dict(pairwise(arguments))
    host, port = given.get("--rp_api_host", _API_HOST), given.get("--rp_api_port", _API_PORT)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, int(port)), family=family).close()
    except OSError as error:
        reason = "it is in use" if error.errno == errno.EADDRINUSE else os_reason(error)
        raise UnavailableError(
            f"The local API cannot be served on port {port} of {host}: {reason}.",
            remedy="Name another port with --rp_api_port, or PORT= of `make serve`; or another "
            "address with --rp_api_host.",
        ) from error


class Sdk:
    """The SDK with its command-line `arguments`: loaded at once, it takes jobs during `serve`."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = arguments
        self._loop = asyncio.get_running_loop()
        self._ready = threading.Event()
        self._answer: Answering | None = None
        self._pauses = _Pauses()
        # These belong to the SDK's own loop. Without a task that takes jobs, it serves its local
        # API or runs a test.
        self._taking: asyncio.Task[Any] | None = None
        self._is_closing = False
        self._sending: set[asyncio.Task[Any]] = set()
        # When each job was to be stopped, in seconds of the monotonic clock.
        self._stopped: dict[str, float] = {}
        # Loading it cannot be interrupted.
        self._ended = asyncio.ensure_future(in_thread(self._run, grace_s=0))

    async def serve(self, answer: Answering) -> int:
        """Answers jobs until the SDK ends, as it does after a test; returns its exit code.

        Once cancelled, it takes no more jobs and reports nothing about those that still run, so
        that the platform gives them to another worker.
        """
        self._answer = answer
        self._ready.set()
        try:
            return await asyncio.shield(self._ended)
        except asyncio.CancelledError:
            await self._close()
            raise

    async def _close(self) -> None:
        taking = self._taking
        if taking is not None and not self._ended.done():
            asyncio.run_coroutine_threadsafe(self._stop_taking(taking), taking.get_loop())
            await asyncio.wait({self._ended}, timeout=_SENDING_S + 0.1)
        if not self._ended.cancel():
            # That it was stopped is no news.
            self._ended.exception()

    async def _stop_taking(self, taking: asyncio.Task[Any]) -> None:
        self._is_closing = True
        if self._sending:
            await asyncio.wait(self._sending, timeout=_SENDING_S)
        # The end of this task ends the SDK's loop, with all that runs and waits there.
        taking.cancel()

    def _concurrency(self, current: int) -> int:
        """Called by the SDK before it takes jobs, in the task that does so."""
        self._taking = asyncio.current_task()
        # It may have taken one.
        self._pauses.end()
        return 0 if self._is_closing else current

    async def _handle(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self._answer is not None
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(partial(self._left, job["id"]))
        if time.monotonic() - self._stopped.get(job["id"], -math.inf) < _STOPPED_S:
            raise asyncio.CancelledError
        async with ProgressUpdates(job) as updates:
            # Only the platform takes progress.
            report = _ignored if self._taking is None else updates.put
            # Cancelling this future cancels the job: that is how the SDK stops one.
            work = asyncio.run_coroutine_threadsafe(self._answer(job, report), self._loop)
            result = await asyncio.wrap_future(work)
        self._sending.add(task)
        return result

    def _left(self, job_id: str, task: asyncio.Task[Any]) -> None:
        """The SDK is done with a job: its result was sent, or it was stopped."""
        self._sending.discard(task)
        self._stopped.pop(job_id, None)
        self._pauses.end()

    def _run(self) -> int:
        if not any(name in os.environ for name in _LOG_LEVELS):
            # By default it logs every result, including the image data.
            os.environ[_LOG_LEVELS[0]] = "INFO"
        try:
            sdk = load_sdk()
            self._adapt(sdk)
            self._ready.wait()
            sys.argv = [sys.argv[0], *self._arguments]
            config = {"handler": self._handle, "concurrency_modifier": self._concurrency}
            sdk.start(config)
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException as error:
            raise JobError(f"RunPod's SDK ended: {type(error).__name__}: {error}.") from error
        return 0

    def _adapt(self, sdk: Any) -> None:
        """Replaces parts of the module runpod.serverless."""
        scaling: Any = importlib.import_module("runpod.serverless.modules.rp_scale")
        # It would install signal handlers, which only the main thread may do, and then wait for
        # jobs.
        sdk.signal = scaling.signal = _NoSignals
        scaling.asyncio = self._pauses
        fetch_stops = scaling.get_stop_signals

        async def get_stop_signals(session: Any) -> list[str]:
            jobs: list[str] = await fetch_stops(session)
            now = time.monotonic()
            known = {job: at for job, at in self._stopped.items() if now - at < _STOPPED_S}
            self._stopped = known | dict.fromkeys(jobs, now)
            return jobs

        scaling.get_stop_signals = get_stop_signals
        # A process for its pings would double the memory, and go on after the worker was killed.
        pinging: Any = importlib.import_module("runpod.serverless.modules.rp_ping")
        pinging.Process = partial(threading.Thread, daemon=True)


def _ignored(_update: Update) -> None:
    pass


class _NoSignals:
    """Replaces the module `signal` in the SDK."""

    SIGINT = signal.SIGINT
    SIGTERM = signal.SIGTERM

    @staticmethod
    def signal(*_: object) -> None:
        pass


class _Pauses:
    """Replaces the module `asyncio` in the SDK: `end` ends its pauses between two looks."""

    def __init__(self) -> None:
        self._over = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, delay_s: float) -> None:
        if not 0 < delay_s <= _LONGEST_LOOK_S:
            await asyncio.sleep(delay_s)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._over.wait()

    def end(self) -> None:
        self._over.set()
        self._over = asyncio.Event()
