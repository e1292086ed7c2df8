"""An HTTP server for downloads that does nothing else, to be run as a process of its own.

`python -m benchmarks.file_server FOLDER [--limit BYTES]` prints its port, then serves the files of
the folder until it is ended. Bytes go from the page cache to the socket by sendfile, so that it
takes little of the machine from who downloads. With a limit, a connection gets so many bytes a
second, as from nginx's `limit_rate`; a connection that is kept open does not save up for later.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from comfy_files.processes import end_group

_HOST = "127.0.0.1"
_AT_ONCE_BYTES = 1 << 20
# So many pieces a second where there is a limit.
_STEPS_S = 50
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_GRACE_S = 5


@contextlib.contextmanager
def file_server(folder: Path, *, limit_bytes_s: int | None = None) -> Iterator[str]:
    """The address, ending in `/`, at which another process serves `folder` while this lasts."""
    limit = () if limit_bytes_s is None else ("--limit", str(limit_bytes_s))
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(folder), *limit],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        yield f"http://{_HOST}:{int(process.stdout.readline())}/"
    finally:
        end_group(process, grace_s=_GRACE_S)


class _Handler(BaseHTTPRequestHandler):
    """A connection. `_free_at` is when it may send again, if there is a limit."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, *arguments: object, folder: Path, limit: int | None) -> None:
        self._folder = folder
        self._limit = limit
        self._free_at = 0.0
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        try:
            file = (self._folder / Path(self.path).name).open("rb")
        except OSError:
            self.send_response(HTTPStatus.NOT_FOUND)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        with file:
            size = os.fstat(file.fileno()).st_size
            found = _RANGE.fullmatch(self.headers.get("Range", ""))
            start = int(found[1]) if found else 0
            end = min(int(found[2]) + 1, size) if found and found[2] else size
            self.send_response(HTTPStatus.PARTIAL_CONTENT if found else HTTPStatus.OK)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(end - start))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{os.fstat(file.fileno()).st_mtime_ns:x}-{size:x}"')
            if found:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            self.end_headers()
            if with_body:
                with contextlib.suppress(ConnectionError):
                    self._send(file.fileno(), start, end)

    def _send(self, file: int, start: int, end: int) -> None:
        at_once = _AT_ONCE_BYTES if self._limit is None else self._limit // _STEPS_S
        while start < end:
            sent = os.sendfile(self.connection.fileno(), file, start, min(end - start, at_once))
            start += sent
            if self._limit is not None:
                self._free_at = max(self._free_at, time.monotonic()) + sent / self._limit
                time.sleep(max(0.0, self._free_at - time.monotonic()))

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may hang up."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    handler = partial(_Handler, folder=options.folder, limit=options.limit)
    with _Server((_HOST, 0), handler) as server:
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
