"""What all transfers of one command share: pauses that servers ask for, and connections."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

from comfy_files.progress import Progress, Say
from comfy_http.retries import Pauses
from comfy_models.sources.hosts import Hosts

FILES_AT_ONCE = 4
PER_FILE = 8
_IN_ALL = 16


class Traffic:
    """`further` are the connections that files may open beside their first."""

    def __init__(self, hosts: Hosts, *, say: Say, progress: Progress) -> None:
        self.hosts, self.say, self.progress = hosts, say, progress
        self.pauses = Pauses(say)
        self.further = threading.Semaphore(_IN_ALL - FILES_AT_ONCE)


def server_of(url: str) -> str:
    """The name under which the server of a source asks to wait: of a kind, or a web server's."""
    parts = urlsplit(url)
    return (parts.hostname or "") if parts.scheme in ("http", "https") else parts.scheme
