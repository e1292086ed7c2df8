"""One engine that serves any number of jobs, restarted if it ends or stops responding."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

from comfy_workflows.graph import Graph
from rp_handler.engine.client import EngineClient, Execution
from rp_handler.engine.import_faults import import_faults
from rp_handler.engine.process import Engine
from rp_handler.engine.prompt import Listener
from rp_handler.errors import EngineCrashedError
from rp_handler.home.engine_setup import engine_setup
from rp_handler.home.realized import Home

# How long a cancelled run may take to stop before the engine is restarted.
_SETTLE_S = 5.0
_POLL_S = 0.1
# A cached result is noticed after the first run, and dropped by the third at the latest.
_RUNS = 3


class ResidentEngine:
    """The engine of `home`, up while the block lasts: `async with ResidentEngine(...) as engine`.

    `port` is the port to serve on, None for a free one. Raises EngineStartError if it cannot be
    started, UnavailableError for a port in use.
    """

    def __init__(self, home: Home, listener: Listener, *, port: int | None = None) -> None:
        self.home = home
        self._listener = listener
        self._port = port
        self._stack = contextlib.AsyncExitStack()
        self._engine: Engine | None = None
        self._is_unsettled = False

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
        if self._engine is not None and self._is_unsettled:
            await self._settle(self._engine)
        if self._engine is None:
            self._listener.say(f"Starting ComfyUI of {self.home.root}.")
            setup = self._stack.enter_context(engine_setup(self.home))
            starting = Engine(setup, port=self._port, log_say=self._listener.log)
            self._engine = await self._stack.enter_async_context(starting)
            self._listener.say(f"ComfyUI was ready after {self._engine.start_ms / 1000:.1f} s.")
            warn_of_nodes(self._engine, self.home, self._listener)
        return self._engine

    async def run(
        self, graph: Graph, *, timeout_s: float | None, strict: bool = False
    ) -> Execution:
        """Runs `graph`, with only this run's own outputs. Raises as EngineClient.run does."""
        engine = await self.running()
        try:
            async with EngineClient(engine) as client:
                for _ in range(_RUNS):
                    # ComfyUI numbers new files after the existing ones.
                    _empty(engine.folders.output)
                    _empty(engine.folders.temp)
                    execution = await client.run(
                        graph, say=self._listener.progress, timeout_s=timeout_s, strict=strict
                    )
                    # Results from the engine's cache name files of an earlier job.
                    if not execution.names_earlier_files:
                        break
                    await client.forget_results()
                return execution
        except EngineCrashedError as error:
            await self._end(error)
            raise
        except BaseException:
            self._is_unsettled = True
            raise

    async def _settle(self, engine: Engine) -> None:
        """Waits until nothing runs, or ends the engine: a node may ignore an interruption."""
        with contextlib.suppress(TimeoutError, EngineCrashedError):
            async with asyncio.timeout(_SETTLE_S), EngineClient(engine) as client:
                while (await client.get("/queue") or {}).get("queue_running"):
                    await asyncio.sleep(_POLL_S)
                self._is_unsettled = False
        if self._is_unsettled:
            self._listener.say("ComfyUI is still running a cancelled job; restarting it.")
            await self._end(None)

    async def _end(self, error: BaseException | None) -> None:
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        self._engine = None
        self._is_unsettled = False
        # Passed its error, so that the log of a crashed engine is kept.
        await stack.__aexit__(type(error) if error else None, error, None)


def warn_of_nodes(engine: Engine, home: Home, listener: Listener) -> None:
    """Reports the nodes that fail here; they may be fine on the machine of the version's check."""
    imports = engine.imports
    names = [node.name for node in home.manifest.nodes] if imports.is_observed else []
    for fault in import_faults(imports, core=home.comfyui, nodes=names):
        if fault.is_custom:
            listener.say(f"Warning: {fault.sentence}")


def _empty(folder: Path) -> None:
    if folder.is_dir():
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
