"""Jobs without a handler: a graph posted straight to ComfyUI by a client that does nothing else."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Mapping
from typing import Any

import aiohttp

from benchmarks.job_graphs import Answer, Graph

_HISTORY_POLL_S = 0.001


class Straight:
    """Posts to the engine at `port` of loopback; its connections stay open.

    Use it as `with Straight(port) as straight`.
    """

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._client = uuid.uuid4().hex
        self._runner = asyncio.Runner()

    def __enter__(self) -> Straight:
        self._runner.run(self._connect())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._session.close())
        self._runner.close()

    def __call__(self, graph: Graph) -> Answer:
        return self._runner.run(self._answer(graph))

    async def _connect(self) -> None:
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(
            f"{self._url}/ws?clientId={self._client}", max_msg_size=0
        )

    async def _answer(self, graph: Graph) -> Answer:
        posted = {"prompt": graph, "client_id": self._client}
        async with self._session.post(f"{self._url}/prompt", json=posted) as response:
            prompt = (await response.json())["prompt_id"]
        ran = await self._until_done(prompt)
        while not (history := await self._get(f"/history/{prompt}")):
            await asyncio.sleep(_HISTORY_POLL_S)
        outputs = history[prompt]["outputs"].values()
        images = [await self._image(one) for node in outputs for one in node.get("images", [])]
        return Answer(images=images, ran=ran)

    async def _until_done(self, prompt: str) -> frozenset[str]:
        """The nodes that ran."""
        ran: set[str] = set()
        while True:
            message = await self._socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            event = json.loads(message.data)
            data = event["data"]
            if event["type"] != "executing" or data.get("prompt_id") != prompt:
                continue
            if data["node"] is None:
                return frozenset(ran)
            ran.add(str(data["node"]))

    async def _get(self, path: str) -> Any:
        async with self._session.get(f"{self._url}{path}") as response:
            return await response.json()

    async def _image(self, one: Mapping[str, str]) -> str:
        query = {name: one[name] for name in ("filename", "subfolder", "type")}
        async with self._session.get(f"{self._url}/view", params=query) as response:
            return base64.b64encode(await response.read()).decode()
