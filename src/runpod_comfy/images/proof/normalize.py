"""Rewrites an image so that its id only depends on its files, not on the engine that built it.

The image is saved, the layers above its base get fixed headers and the configuration fixed times,
and the result is loaded with the same tags. The format of a layer is pax (POSIX.1-2001) as Python's
tarfile writes it: entries sorted by path, whole seconds, numbers for owners and no names, extended
attributes as `SCHILY.xattr.*`. Of a configuration, only what containers see is kept
(https://github.com/opencontainers/image-spec/blob/main/config.md, and Docker's additions).
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import docker
from docker.errors import APIError

from comfy_errors import InvalidInputError
from comfy_files.files import COPY_BYTES
from comfy_files.progress import Say, readable_size
from comfy_files.space import require_room
from runpod_comfy.cache.paths import MORE_ROOM
from runpod_comfy.images.docker.local_images import inspect_image, saved_chunks
from runpod_comfy.images.docker.stream import engine_errors, read_messages
from runpod_comfy.images.dockerfile import BASE_NAME, CREATED
from runpod_comfy.images.proof.saved_image import (
    MANIFEST,
    alias_of,
    archive_names,
    is_removal,
    names_of_files,
    path_of,
    xattrs_of,
)

_END = bytes(2 * tarfile.BLOCKSIZE)
_KEPT = ("architecture", "os", "os.version", "variant")
_SETTINGS = (
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "StopTimeout",
    "Shell",
    "Healthcheck",
    "OnBuild",
)
_UNKNOWN_TIME = "1970-01-01T00:00:00Z"
_GZIP = b"\x1f\x8b"
_TOLD_EVERY_BYTES = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class NormalEntry:
    """A header to write, and the entry of the old layer with its content."""

    header: tarfile.TarInfo
    content: tarfile.TarInfo | None = None


def normal_entries(layer: tarfile.TarFile) -> list[NormalEntry]:
    """The entries of a layer in order, with their headers. Of two entries with one path the last is
    used; for a file with several names the first entry gets the content.
    """
    members: dict[str, tarfile.TarInfo] = {}
    links: dict[str, str] = {}
    for member in layer:
        path = path_of(member)
        members[path] = member
        links.pop(path, None)
        if member.islnk():
            links[path] = member.linkname.removeprefix("./").strip("/")
    entries = {path: _entry(path, member) for path, member in members.items()}
    for name, names in names_of_files(links).items():
        if name in members:
            entries |= {path: _linked(path, names[0], members[name]) for path in names}
    return [entries[path] for path in sorted(entries, key=os.fsencode)]


def normal_size(entries: Sequence[NormalEntry]) -> int:
    """The number of bytes that `write_layer` yields."""
    sizes = ((len(_header_bytes(each)), each.header.size) for each in entries)
    return sum(header + size + -size % tarfile.BLOCKSIZE for header, size in sizes) + len(_END)


def write_layer(layer: tarfile.TarFile, entries: Sequence[NormalEntry]) -> Iterator[bytes]:
    """The bytes of the layer in chunks; contents come from the old layer."""
    for entry in entries:
        yield _header_bytes(entry)
        if entry.content is None:
            continue
        content = layer.extractfile(entry.content)
        assert content is not None
        while chunk := content.read(COPY_BYTES):
            yield chunk
        yield bytes(-entry.header.size % tarfile.BLOCKSIZE)
    yield _END


def normal_config(config: Mapping[str, Any], digests: Sequence[str]) -> bytes:
    """The bytes of the configuration, for layers with these `sha256:…` digests.

    The time of the image and of its history is taken from its label, else 1970.
    """
    settings = config.get("config") or {}
    created = (settings.get("Labels") or {}).get(CREATED, _UNKNOWN_TIME)
    document = {
        **{key: config[key] for key in _KEPT if config.get(key)},
        "config": {key: settings[key] for key in _SETTINGS if settings.get(key)},
        "created": created,
        "history": [_step(each, created) for each in config.get("history") or []],
        "rootfs": {"type": "layers", "diff_ids": list(digests)},
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _step(step: Mapping[str, Any], created: str) -> dict[str, Any]:
    # No comment: engines put their own names there.
    kept: dict[str, Any] = {"created": created, "created_by": step.get("created_by", "")}
    if step.get("empty_layer"):
        kept["empty_layer"] = True
    return kept


def _entry(path: str, member: tarfile.TarInfo) -> NormalEntry:
    header = tarfile.TarInfo(path or "./")
    if is_removal(path):
        # Only its path matters. Engines set its time to that of the build.
        header.mode = 0
        return NormalEntry(header=header)
    header.mode = 0o777 if member.issym() else member.mode & 0o7777
    header.uid, header.gid = member.uid, member.gid
    header.mtime = int(member.mtime)
    header.pax_headers = xattrs_of(member)
    if member.isreg():
        header.size = member.size
        return NormalEntry(header=header, content=member if member.size else None)
    header.type = member.type
    if member.issym() or member.islnk():
        header.linkname = member.linkname
    if member.isdev() and not member.isfifo():
        header.devmajor, header.devminor = member.devmajor, member.devminor
    return NormalEntry(header=header)


def _linked(path: str, first: str, content: tarfile.TarInfo) -> NormalEntry:
    entry = _entry(path, content)
    if path == first:
        return entry
    header = entry.header
    header.type, header.size, header.linkname, header.pax_headers = tarfile.LNKTYPE, 0, first, {}
    return NormalEntry(header=header)


def _header_bytes(entry: NormalEntry) -> bytes:
    return entry.header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


@dataclass(frozen=True, kw_only=True)
class Normalized:
    """An image before and after: its ids, its tags, and the new digests of its layers."""

    before: str
    image_id: str
    tags: tuple[str, ...]
    layers: tuple[str, ...]


def normalize(
    client: docker.DockerClient, reference: str, *, base: str | None, scratch: Path, say: Say
) -> Normalized:
    """Rewrites an image on its engine; the old one is removed if nothing else uses it.

    `base` is the image that it is based on, by default the one in its label. The folder `scratch`
    needs space for one copy of the image. Raises UnavailableError if the image does not exist,
    InvalidInputError if `base` is not its base.
    """
    image = inspect_image(client, reference)
    tags = tuple(image["RepoTags"] or ())
    below = _layers_below(client, image, base)
    with tempfile.TemporaryFile(dir=scratch) as saved:
        _save(client, image, saved, scratch, say)
        rewriting = Rewriting(saved=saved, kept=below, tags=tags, scratch=scratch, say=say)
        with engine_errors("loading the rewritten image"):
            answer = client.api.load_image(  # type: ignore[no-untyped-call]
                rewriting.archive(), quiet=True
            )
        for _ in read_messages(answer, doing="loading the rewritten image"):
            pass
    image_id = f"sha256:{rewriting.config_digest}"
    if image_id != image["Id"]:
        # A container may use it, or it may be the parent of another image.
        with contextlib.suppress(APIError):
            client.images.remove(image["Id"])
    inspect_image(client, image_id)
    return Normalized(
        before=image["Id"], image_id=image_id, tags=tags, layers=tuple(rewriting.digests)
    )


@dataclass(kw_only=True)
class Rewriting:
    """Rewrites a saved image into a new archive.

    The lowest `kept` layers are not changed. `digests` and `config_digest` are known when the
    archive is finished.
    """

    saved: IO[bytes]
    kept: int
    tags: Sequence[str]
    scratch: Path
    say: Say
    digests: list[str] = field(default_factory=list)
    config_digest: str = ""

    def archive(self) -> Iterator[bytes]:
        """The new archive for `docker load`, in chunks."""
        self.saved.seek(0)
        with tarfile.open(fileobj=self.saved, mode="r:") as archive:
            members = {member.name: member for member in archive}
            aliases = {
                name: alias_of(member)
                for name, member in members.items()
                if member.issym() or member.islnk()
            }
            config_name, names = archive_names(
                json.loads(_read(archive, members[MANIFEST])), aliases
            )
            config = json.loads(_read(archive, members[config_name]))
            paths = [f"{index}/layer.tar" for index in range(len(names))]
            for name, path in zip(names, paths, strict=True):
                with _unpacked(archive, members[name], self.scratch) as (layer, size_bytes):
                    yield from self._layer(path, layer, size_bytes, count=len(names))
        content = normal_config(config, self.digests)
        self.config_digest = hashlib.sha256(content).hexdigest()
        config_name = f"{self.config_digest}.json"
        manifest = [{"Config": config_name, "RepoTags": list(self.tags) or None, "Layers": paths}]
        for name, text in ((config_name, content), (MANIFEST, json.dumps(manifest).encode())):
            yield _header(name, len(text)) + text + bytes(-len(text) % tarfile.BLOCKSIZE)
        yield bytes(2 * tarfile.BLOCKSIZE)

    def _layer(
        self, path: str, layer: IO[bytes], size_bytes: int, *, count: int
    ) -> Iterator[bytes]:
        index = len(self.digests)
        if index < self.kept:
            chunks = iter(lambda: layer.read(COPY_BYTES), b"")
        else:
            self.say(f"Layer {index + 1} of {count}, {readable_size(size_bytes)}")
            opened = tarfile.open(fileobj=layer, mode="r:")  # noqa: SIM115 (has no file of its own)
            entries = normal_entries(opened)
            size_bytes, chunks = normal_size(entries), write_layer(opened, entries)
        digest = hashlib.sha256()
        yield _header(path, size_bytes)
        for chunk in chunks:
            digest.update(chunk)
            yield chunk
        yield bytes(-size_bytes % tarfile.BLOCKSIZE)
        self.digests.append(f"sha256:{digest.hexdigest()}")


def _layers_below(client: docker.DockerClient, image: dict[str, Any], base: str | None) -> int:
    """The number of the image's layers that belong to its base."""
    named = base or (image["Config"].get("Labels") or {}).get(BASE_NAME)
    if not named:
        raise InvalidInputError(
            "the image does not say what it is based on", remedy="Name its base with --base."
        )
    below = inspect_image(client, named)["RootFS"]["Layers"]
    layers = image["RootFS"]["Layers"]
    if layers[: len(below)] != below:
        raise InvalidInputError(
            f"the image is not based on the {named} that the engine has now",
            remedy="Name its real base with --base, or build it again.",
        )
    return len(below)


def _save(
    client: docker.DockerClient,
    image: dict[str, Any],
    target: IO[bytes],
    scratch: Path,
    say: Say,
) -> None:
    size = readable_size(image["Size"])
    require_room([(scratch, image["Size"])], remedy=MORE_ROOM)
    say(f"Saving the image, about {size}")
    written = told = 0
    for chunk in saved_chunks(client, image["Id"]):
        target.write(chunk)
        written += len(chunk)
        if written - told >= _TOLD_EVERY_BYTES:
            told = written
            say(f"Saved {readable_size(written)} of about {size}")


@contextlib.contextmanager
def _unpacked(
    archive: tarfile.TarFile, member: tarfile.TarInfo, scratch: Path
) -> Iterator[tuple[IO[bytes], int]]:
    """A layer's tar file, seekable, and its size in bytes."""
    content = archive.extractfile(member)
    assert content is not None
    packed = content.read(len(_GZIP)) == _GZIP
    content.seek(0)
    if not packed:
        yield content, member.size
        return
    # Engines with containerd's image store save layers compressed.
    with tempfile.TemporaryFile(dir=scratch) as plain, gzip.open(content) as unpacking:
        shutil.copyfileobj(unpacking, plain)
        size = plain.tell()
        plain.seek(0)
        yield plain, size


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = archive.extractfile(member)
    assert content is not None
    return content.read()


def _header(name: str, size_bytes: int) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = size_bytes
    return header.tobuf(tarfile.GNU_FORMAT)
