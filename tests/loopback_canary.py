"""Listens on every loopback address at one port, and counts who connects; and a name that seems
to belong to the public internet.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import urllib3.util.connection

PUBLIC_NAME, PUBLIC_ADDRESS = "public.test", "93.184.216.34"
_ADDRESSES = ("127.0.0.1", "127.0.0.2", "::1")


@dataclass
class Canary:
    """`heard` are the addresses of ours that somebody connected to; `has_ipv6` says whether the
    machine has ::1.
    """

    port: int
    has_ipv6: bool = False
    heard: list[str] = field(default_factory=list)

    def urls(self) -> list[str]:
        """The ways to name it that a check of the text alone may miss."""
        hosts = (
            *("127.0.0.1", "localhost", "LOCALHOST", "localhost.", "127.1", "2130706433", "0"),
            *(
                "0x7f.1",
                "0177.0.0.1",
                "127.0.0.2",
                "0.0.0.0",
                "[::1]",
                "[::]",
                "[::ffff:127.0.0.1]",
            ),
            *("[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "①②⑦.⓪.⓪.①"),
        )
        return [f"http://{host}:{self.port}/secret.png" for host in hosts]


@contextlib.contextmanager
def canary() -> Iterator[Canary]:
    """It accepts each connection and closes it."""
    first = _listening(_ADDRESSES[0], 0)
    bird = Canary(port=first.getsockname()[1])
    sockets = {_ADDRESSES[0]: first}
    for address in _ADDRESSES[1:]:
        with contextlib.suppress(OSError):
            sockets[address] = _listening(address, bird.port)
    bird.has_ipv6 = "::1" in sockets
    threads = [
        threading.Thread(target=_serve, args=(bird, address, each), daemon=True)
        for address, each in sockets.items()
    ]
    for thread in threads:
        thread.start()
    try:
        yield bird
    finally:
        for each in sockets.values():
            # Ends the wait for a connection, which `close` does not.
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in threads:
            thread.join()


def resolve_public_name(patch: pytest.MonkeyPatch) -> None:
    """PUBLIC_NAME gets a public address, a connection to which is made to this machine. No other
    name is asked for elsewhere.
    """
    resolve, connect = socket.getaddrinfo, urllib3.util.connection.create_connection

    def resolved(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == PUBLIC_NAME:
            host = PUBLIC_ADDRESS
        if str(host).lower().rstrip(".") != "localhost":
            options["flags"] = socket.AI_NUMERICHOST
        return resolve(host, *arguments, **options)

    def connected(place: tuple[str, int], *arguments: Any, **options: Any) -> socket.socket:
        host = "127.0.0.1" if place[0] == PUBLIC_ADDRESS else place[0]
        return connect((host, place[1]), *arguments, **options)

    patch.setattr(socket, "getaddrinfo", resolved)
    patch.setattr(urllib3.util.connection, "create_connection", connected)


def _listening(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family)


def _serve(bird: Canary, address: str, listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            bird.heard.append(address)
            connection.close()
