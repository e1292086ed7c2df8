"""Debian's Chromium without a window, over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

_START_S = 60
_ANSWER_S = 60
_MOST_BYTES = 256 << 20
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--hide-scrollbars", "--remote-debugging-port=0"),
)
_KEYS = {"Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Enter": 13}


class PageError(Exception):
    """Chromium refused a command, or an expression threw."""


@dataclass
class Page:
    """A tab. `complaints` are the errors and warnings on its console, and what its security policy
    refused; `requests` the addresses that it loaded from outside itself.
    """

    _loop: asyncio.Runner
    _socket: aiohttp.ClientWebSocketResponse
    _session: str = ""
    _last: int = 0
    _events: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command of the protocol. Raises PageError."""
        answer: dict[str, Any] = self._loop.run(self._asked(method, parameters))
        return answer

    def open(self, address: str, *, width: int, height: int = 900, scheme: str = "light") -> None:
        """Loads the address in a window of so many pixels; narrow ones are those of a phone."""
        phone = width < 600
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.send("Emulation.setEmulatedMedia", features=[feature])
        self._events.discard("Page.loadEventFired")
        self.send("Page.navigate", url=address)
        while "Page.loadEventFired" not in self._events:
            self.value("1")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives, as if the person had done it. Awaits a promise."""
        answer = self.send(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in answer:
            raise PageError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            code = _KEYS[key]
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        answer = self.send(
            "Page.captureScreenshot", captureBeyondViewport=whole, **self._clip(whole)
        )
        path.write_bytes(base64.b64decode(answer["data"]))

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {**size, "scale": 1}}

    async def _asked(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._last += 1
        asked = {"id": self._last, "method": method, "params": parameters}
        await self._socket.send_json(
            asked | ({"sessionId": self._session} if self._session else {})
        )
        while True:
            message = await asyncio.wait_for(self._socket.receive_json(), _ANSWER_S)
            if message.get("id") == self._last:
                if "error" in message:
                    raise PageError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, parameters = message["method"], message["params"]
        self._events.add(method)
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.complaints.append(str(parameters["args"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.complaints.append(str(parameters["entry"]))
        elif method == "Network.requestWillBeSent":
            address = parameters["request"]["url"]
            if not address.startswith(("data:", "blob:")):
                self.requests.append(address)


@contextmanager
def chromium(profile: Path, options: Sequence[str] = ()) -> Iterator[Page]:
    """A tab of a Chromium that keeps its files in the folder `profile`."""
    program = shutil.which("chromium")
    assert program, "This test needs Chromium: apt-get install chromium"
    profile.mkdir(parents=True, exist_ok=True)
    with (profile / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, *_OPTIONS, *options, f"--user-data-dir={profile}", "about:blank"],
            stdout=log,
            stderr=log,
        )
    try:
        with asyncio.Runner() as loop:
            address = loop.run(_address(profile, process))
            session = loop.run(_session())
            try:
                socket = loop.run(_connected(session, address))
                page = Page(loop, socket)
                target = page.send("Target.createTarget", url="about:blank")["targetId"]
                attached = page.send("Target.attachToTarget", targetId=target, flatten=True)
                page._session = attached["sessionId"]
                for domain in ("Page", "Runtime", "Log", "Network"):
                    page.send(f"{domain}.enable")
                yield page
            finally:
                loop.run(session.close())
    finally:
        process.terminate()
        process.wait(timeout=30)


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession()


async def _connected(
    session: aiohttp.ClientSession, address: str
) -> aiohttp.ClientWebSocketResponse:
    return await session.ws_connect(address, max_msg_size=_MOST_BYTES)


async def _address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """Where Chromium listens; it writes the port and the path once it does."""
    file = profile / "DevToolsActivePort"
    async with asyncio.timeout(_START_S):
        while not (file.is_file() and len(file.read_text().splitlines()) == 2):
            log = (profile / "log").read_text(errors="replace")
            assert process.poll() is None, f"Chromium ended: {log}"
            await asyncio.sleep(0.05)
    port, path = file.read_text().splitlines()
    return f"ws://127.0.0.1:{port}{path}"
