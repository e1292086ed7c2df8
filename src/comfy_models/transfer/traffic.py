"""What all transfers of one command share: pauses that servers ask for, and connections."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from comfy_files.progress import UNSEEN, Progress, Say, say_nothing
from comfy_http.retries import Pauses
from comfy_models.sources.hosts import Hosts

FILES_AT_ONCE = 4
PER_FILE = 8
_IN_ALL = 16


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """`further` are the connections that files may open beside their first."""

    hosts: Hosts
    say: Say = say_nothing
    progress: Progress = UNSEEN
    pauses: Pauses = field(default_factory=Pauses)
    further: threading.Semaphore = field(
        default_factory=lambda: threading.Semaphore(_IN_ALL - FILES_AT_ONCE)
    )


def traffic_to(hosts: Hosts, *, say: Say, progress: Progress) -> Traffic:
    return Traffic(hosts=hosts, say=say, progress=progress, pauses=Pauses(say))


def server_of(url: str) -> str:
    """The name under which the server of a source asks to wait: of a kind, or a web server's."""
    parts = urlsplit(url)
    return (parts.hostname or "") if parts.scheme in ("http", "https") else parts.scheme
