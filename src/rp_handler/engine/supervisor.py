"""One engine that serves any number of jobs, restarted if it ends or stops responding."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from comfy_workflows.graph import Graph
from comfy_workflows.node_hashes import NodeHashes
from rp_handler.engine.client import EngineClient, Execution
from rp_handler.engine.import_faults import import_faults
from rp_handler.engine.kept_outputs import KeptOutputs, NodeOutputs, remove
from rp_handler.engine.process import Engine, last_lines
from rp_handler.engine.prompt import Listener, ProgressSay, PromptEvents, Timings, Watch
from rp_handler.errors import DeviceFaultError, EngineCrashedError, OutOfMemoryError
from rp_handler.home.engine_setup import engine_setup
from rp_handler.home.realized import Home
from rp_handler.interruption import in_thread

# How long a cancelled run may take to stop before the engine is restarted.
_SETTLE_S = 5.0
_POLL_S = 0.1
SENDING_S = 0.001
_CLAIM_GRACE_S = 30.0
# An engine that names files which are no longer kept drops its results, at the latest after one
# more run.
_RUNS = 3
_FREEING_S = 0.5
_FREED = "ComfyUI ran out of memory; the workflow ran once more, with all models unloaded."


@dataclass(frozen=True, kw_only=True)
class Run:
    """A graph that ran: its outputs by node id, in no particular order, and timings. `warnings` are
    faults that did not keep the engine from running the rest of the graph. `peak_vram_bytes` is the
    most memory of a GPU that it used, None without one. `node_hashes` are what its nodes gave, in
    the order in which they ran; None if the engine does not hash that.
    """

    outputs: Mapping[str, NodeOutputs]
    timings: Timings
    warnings: tuple[str, ...]
    peak_vram_bytes: int | None = None
    node_hashes: Sequence[NodeHashes] | None = None


@dataclass(frozen=True, kw_only=True)
class _GivenUp:
    """A run that may still be going on."""

    events: PromptEvents
    keys: asyncio.Future[dict[str, str]]


class ResidentEngine:
    """The engine of `home`, up while the block lasts: `async with ResidentEngine(...) as engine`.

    `port` is the port to serve on, None for a free one. `input_folder` is where nodes find input
    files, by default that of the home. With `is_isolated`, no run is answered from the engine's
    cache, as far as `forget` is called between runs. With `hashes_nodes`, runs have `node_hashes`;
    nodes that the cache answers for are not among them. Raises EngineStartError if it cannot be
    started, UnavailableError for a port in use.
    """

    def __init__(
        self,
        home: Home,
        listener: Listener,
        *,
        port: int | None = None,
        input_folder: Path | None = None,
        is_isolated: bool = False,
        hashes_nodes: bool = False,
    ) -> None:
        self.home = home
        self._is_isolated = is_isolated
        self._hashes_nodes = hashes_nodes
        self.input_folder = input_folder or home.root / "input"
        self._own_input_folder = input_folder
        self._listener = listener
        self._port = port
        self._stack = contextlib.AsyncExitStack()
        self._engine: Engine | None = None
        self._given_up: _GivenUp | None = None
        self._has_run = False
        # In seconds of the monotonic clock.
        self._freed_at = -math.inf
        self._log: Path | None = None
        self._log_begin = 0

    async def __aenter__(self) -> ResidentEngine:
        await self.running()
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        await self._end(error)

    @property
    def engine(self) -> Engine:
        """The engine that ran last."""
        assert self._engine is not None
        return self._engine

    async def running(self) -> Engine:
        """The running engine, started if there is none."""
        if self._engine is not None and self._engine.ended.done():
            await self._end(self._engine.crashed("between two jobs"))
            self._listener.note("engine_ended", "Warning: ComfyUI ended between two jobs.")
        if self._engine is not None and self._given_up is not None:
            await self._settle(self._given_up)
        if self._engine is None:
            self._listener.note("engine_starting", f"Starting ComfyUI of {self.home.root}.")
            made = engine_setup(self.home, input_folder=self._own_input_folder)
            setup = self._stack.enter_context(made)
            starting = Engine(
                setup,
                port=self._port,
                log_say=self._listener.log,
                hashes_nodes=self._hashes_nodes,
            )
            self._engine = await self._stack.enter_async_context(starting)
            self._client = await self._stack.enter_async_context(EngineClient(self._engine))
            self._kept = KeptOutputs(self._engine.folders)
            start_ms = self._engine.start_ms
            sentence = f"ComfyUI was ready after {start_ms / 1000:.1f} s."
            self._listener.note("engine_ready", sentence, start_ms=start_ms)
            warn_of_nodes(self._engine, self.home, self._listener)
        return self._engine

    async def run(
        self,
        graph: Graph,
        *,
        say: ProgressSay = lambda _: None,
        watch: Watch | None = None,
        strict: bool = False,
        extra_data: Mapping[str, Any] | None = None,
    ) -> Run:
        """Runs `graph`, with only this run's own outputs. `watch` follows what its nodes show.

        If it runs out of memory, it runs once more with all memory freed. Raises JobError for a
        node that raised, JobCancelledError if somebody else interrupted it, and otherwise as
        EngineClient.run does.
        """
        notes: list[str] = []
        for _ in range(_RUNS):
            engine = await self.running()
            if (wait_s := self._freed_at + _FREEING_S - time.monotonic()) > 0:
                # It frees memory when it is idle, so not before a prompt that comes at once.
                await asyncio.sleep(wait_s)
            self._has_run = True
            engine.shorten_log()
            self._log, self._log_begin = engine.log, engine.log.stat().st_size
            engine.log_begin = self._log_begin
            if leftovers := self._kept.leftovers():
                await in_thread(partial(remove, leftovers))
            events = PromptEvents(graph=graph, prompt_id=str(uuid.uuid4()), say=say, watch=watch)
            keys = asyncio.ensure_future(self._keys_of(graph))
            if watch is not None:
                watch.begin(engine.folders)
            try:
                # What was used before does not count.
                await engine.peak_vram_bytes()
                execution = await self._client.run(events, strict=strict, extra_data=extra_data)
                if watch is not None:
                    await watch.settled()
            except EngineCrashedError as error:
                await self._end(error)
                raise
            except BaseException:
                self._given_up = _GivenUp(events=events, keys=keys)
                raise
            peak = await engine.peak_vram_bytes()
            outputs = await self._claim(graph, await keys, execution)
            if self._is_isolated and execution.cached:
                outputs = None
            if execution.error is None and outputs is not None:
                warnings = (*notes, *execution.warnings)
                hashed = None
                if self._hashes_nodes:
                    hashed = await in_thread(partial(engine.node_outputs, events.prompt_id))
                if hashed is not None and hashed.fault is not None:
                    warnings += (f"The outputs of nodes could not be hashed: {hashed.fault}.",)
                return Run(
                    outputs=outputs,
                    timings=execution.timings,
                    warnings=warnings,
                    peak_vram_bytes=peak,
                    node_hashes=None if hashed is None else hashed.nodes,
                )
            is_retried = isinstance(execution.error, OutOfMemoryError) and not notes
            if execution.error is not None and not is_retried:
                execution.error.details["log"] = self.last_log()
                if isinstance(execution.error, DeviceFaultError):
                    sentence = "Warning: the GPU reported an error; ComfyUI is started again."
                    self._listener.note("engine_restart", sentence)
                    await self._end(None)
                raise execution.error
            await self._forget_results()
            if is_retried:
                self._listener.note("out_of_memory_retry", f"Warning: {_FREED}")
                notes.append(_FREED)
                self._freed_at = time.monotonic()
        stuck = EngineCrashedError("ComfyUI does not drop its cached results; it was stopped.")
        await self._end(stuck)
        raise stuck

    async def forget(self) -> bool:
        """Makes the engine forget earlier runs: models in memory, cached results, history; and
        removes the files they left. Returns False if there is nothing to forget.

        Raises EngineCrashedError if the engine ends meanwhile.
        """
        if not self._has_run or self._engine is None or self._engine.ended.done():
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_S):
                if self._given_up is not None:
                    await self._settle(self._given_up)
                if self._engine is not None:
                    await self._client.forget_history()
                    await self._forget_results()
                    await in_thread(partial(remove, self._kept.leftovers()))
                    self._has_run, self._freed_at = False, time.monotonic()
        if self._has_run:
            self._listener.note("engine_restart", "Warning: ComfyUI does not answer; it is ended.")
            await self._end(None)
        return True

    async def _forget_results(self) -> None:
        await self._client.forget_results()
        await in_thread(self._kept.forget)

    async def stop(self) -> None:
        """Ends the engine; the next run gets a new one."""
        await self._end(None)

    def last_log(self) -> list[str]:
        """The last lines that the engine has written since the start of the latest run."""
        return last_lines(self._log, begin=self._log_begin) if self._log else []

    async def _keys_of(self, graph: Graph) -> dict[str, str]:
        # The graph is sent first; a busy thread would delay that.
        await asyncio.sleep(SENDING_S)
        return await in_thread(partial(self._kept.keys_of, graph))

    async def _claim(
        self, graph: Graph, keys: Mapping[str, str], execution: Execution
    ) -> dict[str, NodeOutputs] | None:
        # It is not left half done where the job is cancelled meanwhile.
        return await in_thread(
            partial(self._kept.claim, graph, keys, execution), grace_s=_CLAIM_GRACE_S
        )

    async def _settle(self, run: _GivenUp) -> None:
        """Waits until nothing runs, or ends the engine: a node may ignore an interruption."""
        with contextlib.suppress(TimeoutError, EngineCrashedError):
            async with asyncio.timeout(_SETTLE_S):
                while (await self._client.get("/queue") or {}).get("queue_running"):
                    await asyncio.sleep(_POLL_S)
                execution = await self._client.ended(run.events)
                if execution is not None:
                    await self._claim(run.events.graph, await run.keys, execution)
                self._given_up = None
        if self._given_up is not None:
            sentence = "Warning: ComfyUI is still running a cancelled job; restarting it."
            self._listener.note("engine_restart", sentence)
            await self._end(None)

    async def _end(self, error: BaseException | None) -> None:
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        self._engine = None
        self._given_up = None
        self._has_run, self._freed_at = False, -math.inf
        # Passed its error, so that the log of a crashed engine is kept.
        await stack.__aexit__(type(error) if error else None, error, None)


def warn_of_nodes(engine: Engine, home: Home, listener: Listener) -> None:
    """Reports the nodes that fail here; they may be fine on the machine of the version's check."""
    imports = engine.imports
    names = [node.name for node in home.manifest.nodes] if imports.is_observed else []
    for fault in import_faults(imports, core=home.comfyui, nodes=names):
        if fault.is_custom:
            listener.say(f"Warning: {fault.sentence}")
