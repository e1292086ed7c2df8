"""Archives of images made by hand, in the two ways in which engines write them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class Member:
    """One entry of a layer."""

    name: str
    content: bytes = b""
    type: bytes = tarfile.REGTYPE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: float = 0
    linkname: str = ""
    owner: str = ""
    number: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, str] = field(default_factory=dict)

    def header(self) -> tarfile.TarInfo:
        header = tarfile.TarInfo(self.name)
        header.size = len(self.content)
        header.type, header.mode, header.linkname = self.type, self.mode, self.linkname
        header.uid, header.gid, header.mtime = self.uid, self.gid, self.mtime
        header.uname = header.gname = self.owner
        header.devmajor, header.devminor = self.number
        header.pax_headers = {f"SCHILY.xattr.{name}": value for name, value in self.xattrs.items()}
        return header


def folder(name: str, **changes: Any) -> Member:
    return Member(name=name, type=tarfile.DIRTYPE, mode=0o755, **changes)


def layer(members: Sequence[Member], *, format: int = tarfile.PAX_FORMAT) -> bytes:
    """The tar file of a layer."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format) as archive:
        for member in members:
            archive.addfile(member.header(), io.BytesIO(member.content))
    return target.getvalue()


def config_of(layers: Sequence[bytes], **changes: Any) -> dict[str, Any]:
    """The configuration of an image with these layers."""
    digests = [f"sha256:{hashlib.sha256(each).hexdigest()}" for each in layers]
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-02T03:04:05.678Z",
        "config": {"Env": ["PATH=/bin"], "Labels": {"a": "b"}},
        "rootfs": {"type": "layers", "diff_ids": digests},
        "history": [
            {"created": "2026-01-02T03:04:05.678Z", "created_by": f"RUN LAYER=layer-{index} x"}
            for index in range(len(layers))
        ],
        **changes,
    }


def saved_as_20_10(layers: Sequence[bytes], config: Mapping[str, Any] | None = None) -> bytes:
    """As Engine 20.10 saves: a folder per layer, and a link for one that occurs again."""
    content = json.dumps(config or config_of(layers)).encode()
    names = [f"{index}{'0' * 60}/layer.tar" for index in range(len(layers))]
    manifest = [{"Config": "c0ff.json", "RepoTags": ["made:1"], "Layers": names}]
    members = []
    for index, (name, each) in enumerate(zip(names, layers, strict=True)):
        first = layers.index(each)
        members += [
            folder(f"{name.rpartition('/')[0]}/"),
            Member(name=name.replace("layer.tar", "VERSION"), content=b"1.0"),
            Member(name=name, content=each)
            if first == index
            else Member(name=name, type=tarfile.SYMTYPE, linkname=f"../{names[first]}"),
        ]
    return layer(
        [
            *members,
            Member(name="c0ff.json", content=content),
            Member(name="manifest.json", content=json.dumps(manifest).encode()),
            Member(name="repositories", content=b'{"made":{"1":"0"}}'),
        ]
    )


def saved_as_26(
    layers: Sequence[bytes], config: Mapping[str, Any] | None = None, *, packed: bool = False
) -> bytes:
    """As Engine 25 and later save: everything by its digest; `packed` if they keep it so."""
    blobs = {}
    written = [gzip.compress(each, mtime=0) if packed else each for each in layers]
    content = json.dumps(config or config_of(layers)).encode()
    for each in (*written, content):
        blobs[f"blobs/sha256/{hashlib.sha256(each).hexdigest()}"] = each
    places = {each: place for place, each in blobs.items()}
    manifest = [
        {
            "Config": places[content],
            "RepoTags": ["made:1"],
            "Layers": [places[each] for each in written],
        }
    ]
    return layer(
        [
            folder("blobs/"),
            folder("blobs/sha256/"),
            *(Member(name=name, content=each) for name, each in sorted(blobs.items())),
            Member(name="index.json", content=b'{"schemaVersion":2}'),
            Member(name="manifest.json", content=json.dumps(manifest).encode()),
            Member(name="oci-layout", content=b'{"imageLayoutVersion":"1.0.0"}'),
        ]
    )
