"""A base image of a few programs of this machine, and contexts to build on it."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_PROGRAMS = ("/bin/sh", "/bin/cat", "/bin/ls", "/bin/mkdir", "/bin/rm", "/bin/sleep", "/bin/touch")


def base_tar(more: Mapping[str, bytes] | None = None, *, programs: Sequence[str] = ()) -> bytes:
    """The files of the base: its programs and `programs`, the libraries they load, and `more`."""
    libraries: set[str] = set()
    for program in (*_PROGRAMS, *programs):
        needs = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
        libraries |= set(re.findall(r"(/\S+) \(0x", needs))
    files = {path: Path(path).read_bytes() for path in [*_PROGRAMS, *programs, *sorted(libraries)]}
    # Bind mounts go to folders that are there.
    return tar({**files, "/mnt/.keep": b"", **(more or {})}, mode=0o755)


def context(dockerfile: str, inputs: Mapping[str, bytes] | None = None) -> io.BytesIO:
    """A context with that Dockerfile."""
    return io.BytesIO(tar({"Dockerfile": dockerfile.encode(), **(inputs or {})}, mode=0o644))


def tar(files: Mapping[str, bytes], *, mode: int) -> bytes:
    """A tar as the builder takes it: GNU format, whole seconds."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()
