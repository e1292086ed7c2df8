"""Index pages with whatever a test wants on them, and indexes that misbehave."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tests.package_index import IndexHandler


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A file as an index page lists it. `sha256` is the announced one, None for none."""

    name: str
    sha256: str | None = None
    yanked: str | None = None


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def listed(path: Path, *, yanked: str | None = None) -> Listed:
    """The file, honestly announced."""
    return Listed(name=path.name, sha256=sha256_of(path), yanked=yanked)


def write_page(root: Path, name: str, files: Sequence[Listed]) -> None:
    """Makes `root/simple/<name>/` list files of `root/files/`."""
    page = root / "simple" / name / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("<!DOCTYPE html><html><body>" + "".join(map(_line, files)) + "</body></html>")


def _line(file: Listed) -> str:
    fragment = "" if file.sha256 is None else f"#sha256={file.sha256}"
    yanked = "" if file.yanked is None else f' data-yanked="{file.yanked}"'
    return f'<a href="../../files/{file.name}{fragment}"{yanked}>{file.name}</a><br>'


class StallingHandler(IndexHandler):
    """Sends half of a wheel and waits for the other side to end."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        content = source.read()
        if not self.path.endswith(".whl"):
            outputfile.write(content)
            return
        outputfile.write(content[: len(content) // 2])
        outputfile.flush()
        with contextlib.suppress(ConnectionError):
            self.connection.recv(1)


class RecoveringHandler(IndexHandler):
    """Answers 503 to the first request for each path, as a proxy does while a server restarts."""

    seen: ClassVar[set[str]] = set()

    def do_GET(self) -> None:  # noqa: N802
        address = f"{self.headers['Host']}{self.path}"
        if address in self.seen:
            super().do_GET()
        else:
            self.seen.add(address)
            self.send_error(503)


class OpenHandler(IndexHandler):
    """Writes every login that it is sent into the file `logins`."""

    def do_GET(self) -> None:  # noqa: N802
        with (Path(self.directory) / "logins").open("a") as stream:
            stream.write(f"{self.headers['Authorization']}\n")
        super().do_GET()


def pip_variables(environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """The variables that would lead pip, and so a test, to other indexes."""
    return (name for name in list(environment) if name.startswith("PIP_"))
