"""Steps and their inputs → the context of a build: one reproducible tar file.

It is in GNU format with whole seconds: the builder mistakes Python's default format, PAX, for a
Dockerfile.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from comfy_files.space import size_of
from runpod_comfy.cache.tree_files import add_file, add_tree
from runpod_comfy.images import image_paths
from runpod_comfy.images.dockerfile import Step
from runpod_comfy.layers.plan import TreeInput

_Member = tuple[tarfile.TarInfo, IO[bytes]]

_FIRST_TIME_S = 315_532_800
"""1980-01-01: none of our files is older."""

# The runtime mounts its own over both; in a base without them it would create them with the time of
# the build.
_HOSTS = b"127.0.0.1 localhost\n::1 localhost\n"


@dataclass(frozen=True, kw_only=True)
class BuildInputs:
    """The inputs of the steps.

    `trees` are folders by tree hash. `tools` (paths) and `files` (bytes) are put beside the steps,
    by their path in the context. `workflows` are the files of `/app/workflows`, by name, and `user`
    is `uid:gid`.
    """

    trees: Mapping[str, Path]
    tools: Mapping[str, Path]
    files: Mapping[str, bytes]
    workflows: Mapping[str, bytes]
    user: str

    @property
    def size_bytes(self) -> int:
        """The bytes of everything that is copied into the context."""
        held = [*self.files.values(), *self.workflows.values()]
        return (
            sum(map(size_of, self.trees.values()))
            + sum(path.stat().st_size for path in self.tools.values())
            + sum(map(len, held))
        )


def write_context(
    target: IO[bytes], *, dockerfile: str, steps: Sequence[Step], build_inputs: BuildInputs
) -> None:
    """Writes the context of these steps to `target`."""
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
        workflows = _workflows(build_inputs.workflows, build_inputs.user)
        archive.addfile(*_file("Dockerfile", dockerfile.encode()))
        archive.addfile(*_file("frame.tar", _frame(build_inputs.user)))
        archive.addfile(*_file("workflows.tar", workflows))
        for step in steps:
            for script in sorted(step.scripts):
                add_file(archive, script, _member(f"{step.folder}/{script.name}"))
            for each in step.inputs:
                place = f"{step.folder}/inputs/{each.name}"
                if isinstance(each, TreeInput):
                    add_tree(archive, build_inputs.trees[each.digest], prefix=f"{place}/")
                else:
                    archive.addfile(*_file(place, each.text.encode()))
        for name, path in sorted(build_inputs.tools.items()):
            add_file(archive, path, _member(name))
        for name, content in sorted(build_inputs.files.items()):
            archive.addfile(*_file(name, content))


def _frame(user: str) -> bytes:
    """Our own folders in the image, and files that the runtime expects in a base."""
    link = Path(image_paths.MODELS_LINK)
    return _tar(
        [
            *(_folder(name) for name in ("etc", "home", "opt", image_paths.HOME[1:])),
            _folder("tmp", mode=0o1777),
            # Any user may let the link lead elsewhere.
            _folder(str(link.parent)[1:], mode=0o777),
            _link(str(link)[1:], f"{image_paths.HOME}/models"),
            *(_folder(name[1:], user) for name in (image_paths.APP, image_paths.USER_HOME)),
            _file("etc/hosts", _HOSTS),
            _file("etc/resolv.conf", b""),
        ]
    )


def _workflows(files: Mapping[str, bytes], user: str) -> bytes:
    folder = image_paths.WORKFLOWS[1:]
    return _tar(
        [
            _folder(image_paths.APP[1:], user),
            _folder(folder, user),
            *(_file(f"{folder}/{name}", files[name], user) for name in sorted(files)),
        ]
    )


def _tar(members: Iterable[_Member]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for member in members:
            archive.addfile(*member)
    return stream.getvalue()


def _folder(name: str, user: str = "0:0", *, mode: int | None = None) -> _Member:
    member = _member(name, user)
    member.type = tarfile.DIRTYPE
    # Root writes through the group: its engine has no right to override permissions.
    member.mode = mode or (0o755 if user == "0:0" else 0o775)
    return member, io.BytesIO()


def _link(name: str, target: str) -> _Member:
    member = _member(name)
    member.type = tarfile.SYMTYPE
    member.linkname = target
    member.mode = 0o777
    return member, io.BytesIO()


def _file(name: str, content: bytes, user: str = "0:0") -> _Member:
    member = _member(name, user)
    member.size = len(content)
    return member, io.BytesIO(content)


def _member(name: str, user: str = "0:0") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mtime = _FIRST_TIME_S
    member.uid, member.gid = (int(number) for number in user.split(":"))
    return member
