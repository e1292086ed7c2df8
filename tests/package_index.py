"""Real package indexes: tiny wheels that a test makes, and the pages that list them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.http_server import Answer, Answering, Request, serve


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
    source: str = "",
    more: Mapping[str, str] | None = None,
    headers: Sequence[str] = (),
) -> Path:
    """Writes a wheel with one module of that name and the files `more`; the same arguments give
    the same bytes.

    `headers` are more lines of its metadata, which then lies beside it too (PEP 658).
    """
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {line}\n" for line in requires)
    metadata += "".join(f"{line}\n" for line in headers)
    files = {
        f"{module}.py": f"__version__ = {version!r}\n{source}",
        **(more or {}),
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},{_recorded(text)}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    path = folder / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(zipfile.ZipInfo(member, (2024, 1, 1, 0, 0, 0)), text)
    if headers:
        path.with_name(f"{path.name}.metadata").write_text(metadata)
    return path


# A backend of its own, so that building needs nothing but what `source` imports.
_BACKEND = """
import base64, hashlib, pathlib, zipfile
STAMP = ""
{source}
NAME, VERSION = {name!r}, {version!r}
INFO = f"{{NAME}}-{{VERSION}}.dist-info"

def build_wheel(folder, config_settings=None, metadata_directory=None):
    files = {{
        f"{{NAME}}.py": f"__version__ = {{VERSION!r}}\\n{{STAMP}}",
        f"{{INFO}}/METADATA": f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: {{VERSION}}\\n",
        f"{{INFO}}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }}
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{{path}},sha256={{digest.decode()}},{{len(text)}}\\n"
    files[f"{{INFO}}/RECORD"] = record + f"{{INFO}}/RECORD,,\\n"
    wheel = f"{{NAME}}-{{VERSION}}-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder, wheel), "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, (2024, 1, 1, 0, 0, 0)), text)
    return wheel
"""


def make_sdist(folder: Path, name: str, version: str, *, source: str = "") -> Path:
    """Writes a source distribution that states nothing that it needs. `source` runs first in its
    build: an import, say, or a compiler. What it assigns to STAMP ends the built module.
    """
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\n'
        'backend-path = ["."]\n',
        "backend.py": _BACKEND.format(source=source, name=name, version=version),
    }
    path = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member, text in files.items():
            info = tarfile.TarInfo(f"{name}-{version}/{member}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


def _recorded(text: str) -> str:
    """The hash and the size of a file, as a RECORD has them."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
    return f"sha256={digest.decode()},{len(text.encode())}"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A file as the page of an index lists it. `sha256` is the announced one, None for none.

    `size` and `uploaded`, a time such as `2026-11-29T12:00:00Z`, have a place in JSON alone.
    `has_metadata` says that the metadata is a file of its own.
    """

    name: str
    sha256: str | None = None
    yanked: str | None = None
    size: int | None = None
    uploaded: str | None = None
    has_metadata: bool = False


def listed(path: Path, *, yanked: str | None = None) -> Listed:
    """A file as an honest index announces it."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    has_metadata = path.with_name(f"{path.name}.metadata").exists()
    return Listed(name=path.name, sha256=digest, yanked=yanked, has_metadata=has_metadata)


def html_page(files: Iterable[Listed]) -> str:
    """The page of a distribution (PEP 503), two folders below the root of its index."""
    return "<!DOCTYPE html><html><body>" + "\n".join(map(_link, files)) + "</body></html>"


def _link(file: Listed) -> str:
    fragment = "" if file.sha256 is None else f"#sha256={file.sha256}"
    yanked = "" if file.yanked is None else f' data-yanked="{file.yanked}"'
    metadata = ' data-core-metadata="true"' if file.has_metadata else ""
    return f'<a{metadata} href="../../files/{file.name}{fragment}"{yanked}>{file.name}</a><br>'


def json_page(name: str, files: Iterable[Listed]) -> Answer:
    """The page in JSON (PEP 691), with sizes and upload times (PEP 700)."""
    document = {
        "meta": {"api-version": "1.1"},
        "name": name,
        "versions": [],
        "files": [
            {
                "filename": file.name,
                "url": f"../../files/{file.name}",
                "hashes": {"sha256": file.sha256} if file.sha256 else {},
                "yanked": file.yanked or False,
                **({} if file.size is None else {"size": file.size}),
                **({} if file.uploaded is None else {"upload-time": file.uploaded}),
            }
            for file in files
        ],
    }
    headers = {"Content-Type": "application/vnd.pypi.simple.v1+json"}
    return Answer(headers=headers, body=json.dumps(document).encode())


def json_index(root: Path, uploaded: Mapping[str, str] | None = None) -> Answering:
    """The pages below `root` in JSON. `uploaded` maps file names to upload times."""

    def answer(request: Request) -> Answer | None:
        page = root / request.path[1:] / "index.html"
        if not request.path.startswith("/simple/") or not page.is_file():
            return None
        links = re.findall(r"files/([^#\"]+)#sha256=([0-9a-f]+)", page.read_text())
        files = [
            Listed(
                name=name,
                sha256=sha256,
                size=(root / "files" / name).stat().st_size,
                uploaded=(uploaded or {}).get(name),
            )
            for name, sha256 in links
        ]
        return json_page(page.parent.name, files)

    return answer


def write_page(root: Path, name: str, files: Iterable[Listed]) -> None:
    """Makes `root/simple/<name>/` list files of `root/files/`."""
    page = root / "simple" / name / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(html_page(files))


def write_index(root: Path) -> None:
    """Makes `root/simple/` for the wheels in `root/files/`."""
    pages: dict[str, list[Listed]] = {}
    for wheel in sorted((root / "files").glob("*.whl")) + sorted((root / "files").glob("*.tar.gz")):
        name = wheel.name.split("-")[0].replace("_", "-").lower()
        pages.setdefault(name, []).append(listed(wheel))
    for name, files in pages.items():
        write_page(root, name, files)


def publish(root: Path, name: str, version: str, **details: Any) -> Path:
    """Puts a wheel into the index in `root`, which need not be there yet."""
    (root / "files").mkdir(parents=True, exist_ok=True)
    wheel = make_wheel(root / "files", name, version, **details)
    write_index(root)
    return wheel


def without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of the machine's pip reaches a test."""
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


@contextmanager
def serve_index(
    root: Path, monkeypatch: pytest.MonkeyPatch, answering: Answering = lambda _: None
) -> Iterator[str]:
    """The URL of the index in `root`, the only one that pip is configured to use."""
    without_pip(monkeypatch)
    with serve(root, answering) as url:
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple/")
        yield url
