"""A real package index on loopback, serving tiny wheels that a test makes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
    source: str = "",
) -> Path:
    """Writes a wheel with one module of that name; the same arguments give the same bytes."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {line}\n" for line in requires)
    files = {
        f"{module}.py": f"__version__ = {version!r}\n{source}",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},{_recorded(text)}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    path = folder / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(zipfile.ZipInfo(member, (2024, 1, 1, 0, 0, 0)), text)
    return path


def _recorded(text: str) -> str:
    """The hash and the size of a file, as a RECORD has them."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
    return f"sha256={digest.decode()},{len(text.encode())}"


class IndexHandler(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, *_arguments: object) -> None:
        pass


class JsonIndexHandler(IndexHandler):
    """The same index in JSON (PEP 691), with the sizes that HTML has no place for.

    `uploaded` maps file names to upload times (PEP 700), such as `2026-11-29T12:00:00Z`.
    """

    uploaded: Mapping[str, str] = {}

    def do_GET(self) -> None:
        folder = Path(self.translate_path(self.path))
        if "/simple/" not in self.path or not (folder / "index.html").is_file():
            super().do_GET()
            return
        files = [
            {
                "filename": link[1],
                "url": f"../../files/{link[1]}",
                "hashes": {"sha256": link[2]},
                "size": (Path(self.directory) / "files" / link[1]).stat().st_size,
                **({"upload-time": at} if (at := self.uploaded.get(link[1])) else {}),
            }
            for link in re.finditer(
                r"files/([^#\"]+)#sha256=([0-9a-f]+)", (folder / "index.html").read_text()
            )
        ]
        page = {"meta": {"api-version": "1.1"}, "name": folder.name, "files": files}
        body = json.dumps(page | {"versions": []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def write_index(root: Path) -> None:
    """Makes `root/simple/` (PEP 503) for the wheels that lie in `root/files/`."""
    pages: dict[str, list[str]] = {}
    for wheel in sorted((root / "files").glob("*.whl")):
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        link = f'<a href="../../files/{wheel.name}#sha256={digest}">{wheel.name}</a><br>'
        pages.setdefault(wheel.name.split("-")[0].replace("_", "-").lower(), []).append(link)
    for name, links in pages.items():
        page = root / "simple" / name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("<!DOCTYPE html><html><body>" + "\n".join(links) + "</body></html>")


@contextmanager
def serve(root: Path, handler: type[IndexHandler] = IndexHandler) -> Iterator[str]:
    """Serves `root` on a free loopback port and gives its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
