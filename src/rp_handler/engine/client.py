"""The engine's HTTP and WebSocket interface, as far as a job needs it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp

from rp_handler.engine.preview import FEATURES
from rp_handler.engine.process import Engine
from rp_handler.engine.prompt import (
    PromptEvents,
    Timings,
    failure,
    node_error_sentences,
    refusal,
)
from rp_handler.errors import EngineCrashedError, JobError

Answer = TypeVar("Answer")

# The history is authoritative. It is also polled while the socket is silent, because a core forgets
# a client whose new socket arrives before it has noticed the end of the old one.
_QUIET_S = 2.0
# The history can be ahead of messages that are still on their way.
_LAST_MESSAGES_S = 0.2
_RECONNECT_S = 0.2
# For both requests together: everything must end within 5 seconds, including the engine's grace
# period.
_INTERRUPT_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Execution:
    """The result of a prompt: the outputs in the history by node id, and timings.

    `cached` are the nodes of the graph that the engine's cache answered for, `ran` the nodes known
    to have run. `owners` maps a node that was added to the graph while it ran to the node that
    added it. `warnings` are faults that did not keep the engine from running the rest of the graph.
    `error` is why it ended early.
    """

    outputs: Mapping[str, Any]
    cached: frozenset[str]
    ran: frozenset[str]
    owners: Mapping[str, str]
    timings: Timings
    warnings: tuple[str, ...]
    error: JobError | None


class EngineClient:
    """Talks to a running engine; use it as `async with EngineClient(engine) as client`.

    Its connections stay open between runs, of which there is one at a time.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._client_id = uuid.uuid4().hex
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._unread: asyncio.Task[None] | None = None

    async def __aenter__(self) -> EngineClient:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._unread is not None:
            await _cancelled(self._unread)
        await self._session.close()

    async def get(self, path: str) -> Any:
        """The JSON at `path`, or None if this core has no such path.

        Raises EngineCrashedError if the engine ends instead of answering.
        """
        return await self._while_alive(self._get(path), lambda: f"while answering {path}")

    async def run(
        self,
        events: PromptEvents,
        *,
        strict: bool = False,
        extra_data: Mapping[str, Any] | None = None,
    ) -> Execution:
        """Runs the graph of `events` to its end.

        With `strict`, it is an error if the engine would run only part of the graph. `extra_data`
        are hidden inputs of nodes. Raises RefusedPromptError and EngineCrashedError. A cancelled
        run is interrupted in the engine.
        """
        work = self._run(events, strict=strict, extra_data=extra_data or {})
        try:
            return await self._while_alive(work, events.when)
        except asyncio.CancelledError:
            await self._interrupt(events.prompt_id)
            raise

    async def ended(self, events: PromptEvents) -> Execution | None:
        """How a run went that was given up; None if it never began."""
        entry = await self._history(events.prompt_id)
        return _execution(events, entry) if entry is not None else None

    async def _run(
        self, events: PromptEvents, *, strict: bool, extra_data: Mapping[str, Any]
    ) -> Execution:
        # The socket is opened first: a short prompt could be over before a later socket hears of
        # it.
        await self._listen()
        try:
            warnings = await self._post(events, strict=strict, extra_data=extra_data)
            entry = await self._follow(events)
        finally:
            self._unread = asyncio.create_task(self._skip_messages())
        return _execution(events, entry, warnings)

    async def forget_results(self) -> None:
        """Makes the engine drop its cached results and unload its models.

        It does so when idle, at the latest after the next prompt.
        """
        posting = self._posted("/free", {"unload_models": True, "free_memory": True})
        await self._while_alive(posting, lambda: "while dropping its cached results")

    async def forget_history(self) -> None:
        """Makes the engine drop what it shows of earlier prompts."""
        posting = self._posted("/history", {"clear": True})
        await self._while_alive(posting, lambda: "while dropping its history")

    async def _post(
        self, events: PromptEvents, *, strict: bool, extra_data: Mapping[str, Any]
    ) -> tuple[str, ...]:
        body = {
            "prompt": events.graph.document,
            "client_id": self._client_id,
            "prompt_id": events.prompt_id,
            "extra_data": extra_data,
        }
        async with self._session.post(f"{self._engine.url}/prompt", json=body) as response:
            text = await response.text()
            try:
                answer = json.loads(text)
            except ValueError:
                answer = {"error": f"HTTP {response.status}: {text.strip()[:500]}"}
            if response.status != 200:
                raise refusal(answer)
        # An old core that does not accept our id returns its own.
        events.prompt_id = str(answer.get("prompt_id", events.prompt_id))
        node_errors = answer.get("node_errors") or {}
        if node_errors and strict:
            await self._interrupt(events.prompt_id)
            raise refusal(answer)
        return tuple(
            f"ComfyUI skipped a part of the workflow: {sentence}"
            for sentence in node_error_sentences(node_errors)
        )

    async def _follow(self, events: PromptEvents) -> Mapping[str, Any]:
        """Listens until the prompt is in the history, reconnecting as often as needed."""
        while True:
            socket = await self._listen()
            message = None
            with contextlib.suppress(TimeoutError):
                message = await socket.receive(timeout=_QUIET_S)
            if message is None or message.type not in _DATA:
                entry = await self._history(events.prompt_id)
                if entry is not None:
                    await _take_last_messages(events, socket)
                    return entry
            elif _take(events, message):
                while (entry := await self._history(events.prompt_id)) is None:
                    await asyncio.sleep(0.01)
                return entry

    async def _listen(self) -> aiohttp.ClientWebSocketResponse:
        """The open socket, which nothing else reads; connected first if there is none."""
        if self._unread is not None:
            await _cancelled(self._unread)
            self._unread = None
        while self._socket is None or self._socket.closed:
            try:
                # Previews can have any size, and only the engine sends on this socket.
                self._socket = await self._session.ws_connect(
                    f"{self._engine.url}/ws?clientId={self._client_id}", max_msg_size=0
                )
                await self._socket.send_json(FEATURES)
            except (aiohttp.ClientError, ConnectionError):
                await asyncio.sleep(_RECONNECT_S)
        return self._socket

    async def _skip_messages(self) -> None:
        """Reads what is sent between runs: an engine waits for clients that do not read."""
        while self._socket is not None and not self._socket.closed:
            await self._socket.receive()

    async def _get(self, path: str) -> Any:
        async with self._session.get(f"{self._engine.url}{path}") as response:
            return await response.json() if response.status == 200 else None

    async def _history(self, prompt_id: str) -> Mapping[str, Any] | None:
        try:
            history = await self._get(f"/history/{prompt_id}")
        except aiohttp.ClientError:
            return None
        return history.get(prompt_id) if isinstance(history, dict) else None

    async def _interrupt(self, prompt_id: str) -> None:
        """Removes the prompt from the queue or stops it, unless the engine no longer answers."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(_INTERRUPT_S):
                # In one step, where the core knows it.
                if await self._posted(f"/api/jobs/{prompt_id}/cancel", {}):
                    return
                # It may begin to run between these two, so in this order.
                await self._posted("/queue", {"delete": [prompt_id]})
                await self._posted("/interrupt", {"prompt_id": prompt_id})

    async def _posted(self, path: str, body: Mapping[str, Any]) -> bool:
        async with self._session.post(f"{self._engine.url}{path}", json=body) as response:
            return response.status == 200

    async def _while_alive(self, work: Awaitable[Answer], when: Callable[[], str]) -> Answer:
        """The result of `work`, or EngineCrashedError as soon as the engine has ended."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, self._engine.ended}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        except (aiohttp.ClientError, OSError) as error:
            # The connection may break a moment before the process is known to have ended.
            await asyncio.wait({self._engine.ended}, timeout=_QUIET_S)
            if not self._engine.ended.done():
                raise EngineCrashedError(
                    f"The connection to ComfyUI broke {when()}: {error}.",
                    remedy=f"Its log is {self._engine.log}.",
                ) from error
        finally:
            await _cancelled(task)
        raise self._engine.crashed(when())


_DATA = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)


def _take(events: PromptEvents, message: aiohttp.WSMessage) -> bool:
    """Handles a message with data. True if it says that the engine is done with the prompt."""
    if message.type is aiohttp.WSMsgType.BINARY:
        events.take_binary(message.data)
        return False
    said = json.loads(message.data)
    return events.take(said.get("type", ""), said.get("data") or {})


async def _take_last_messages(
    events: PromptEvents, socket: aiohttp.ClientWebSocketResponse
) -> None:
    """Handles what the engine still sends about a prompt that is in the history."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_MESSAGES_S):
            async for message in socket:
                if message.type not in _DATA or _take(events, message):
                    return


async def _cancelled(task: asyncio.Future[Any]) -> None:
    """Cancels `task`, and waits for its end."""
    if task.cancel():
        await asyncio.wait({task})


def _execution(
    events: PromptEvents, entry: Mapping[str, Any], warnings: tuple[str, ...] = ()
) -> Execution:
    """The result of a prompt from its entry in the history."""
    status = entry.get("status") or {}
    cached = dict(status.get("messages") or ()).get("execution_cached") or {}
    return Execution(
        outputs=entry.get("outputs") or {},
        cached=frozenset(cached.get("nodes") or ()),
        ran=frozenset(events.ran),
        owners={
            node: str(about["display_node"])
            for node, about in (entry.get("meta") or {}).items()
            if isinstance(about, Mapping) and about.get("display_node")
        },
        timings=events.timings(),
        warnings=warnings,
        error=failure(status),
    )
