"""Layers and configurations that are the same to containers become the same bytes."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from runpod_comfy.images.dockerfile import CREATED
from runpod_comfy.images.proof.normalize import (
    normal_config,
    normal_entries,
    normal_size,
    write_layer,
)
from runpod_comfy.images.proof.saved_image import read_layer
from tests.runpod_comfy.images.saved_archives import Member, folder, layer

LONG = "/".join(f"a-rather-long-folder-name-{number}" for number in range(12))
MEMBERS = [
    folder("opt/"),
    Member(name="opt/a", content=b"a" * 700, mode=0o640, uid=1000, gid=1000, mtime=315532800),
    Member(name="opt/empty"),
    folder("opt/new/"),
    Member(name="opt/new/.wh..wh..opq", mode=0o755),
    Member(name="opt/.wh.gone", mode=0o600, mtime=1_700_000_000),
    Member(name="opt/link", type=tarfile.SYMTYPE, linkname="a", mode=0o777),
    Member(name="opt/null", type=tarfile.CHRTYPE, number=(1, 3)),
    Member(name="opt/pipe", type=tarfile.FIFOTYPE),
    Member(name="opt/z", type=tarfile.LNKTYPE, linkname="opt/a", mode=0o640, uid=1000, gid=1000),
    Member(
        name="opt/suid", content=b"#!", mode=0o4755, xattrs={"security.capability": "\x01\udcff"}
    ),
    Member(name="opt/undecodable-\udcff", content=b"x"),
    Member(name=f"{LONG}/grüße", content=b"deep"),
]


def normal(packed: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(packed)) as opened:
        entries = normal_entries(opened)
        written = b"".join(write_layer(opened, entries))
    assert len(written) == normal_size(entries)
    return written


def files(packed: bytes) -> dict[str, object]:
    with tarfile.open(fileobj=io.BytesIO(packed)) as opened:
        return dict(read_layer(opened))


def test_files_keep_what_a_container_sees_of_them() -> None:
    packed = layer(MEMBERS)
    before, after = files(packed), files(normal(packed))
    removals = {"opt/.wh.gone", "opt/new/.wh..wh..opq"}
    assert after.keys() == before.keys() >= removals
    assert {path: after[path] for path in after.keys() - removals} == {
        path: before[path] for path in before.keys() - removals
    }


def test_the_order_the_format_and_owners_names_of_the_old_layer_do_not_matter() -> None:
    # Hard links follow the file in every tar file, and a link is one of several equal names.
    plain = [member for member in MEMBERS if member.type != tarfile.LNKTYPE and not member.xattrs]
    named = [Member(**{**vars(member), "owner": "root"}) for member in reversed(plain)]
    assert normal(layer(plain)) == normal(layer(named, format=tarfile.GNU_FORMAT))


def test_which_name_of_a_file_holds_its_content_does_not_matter() -> None:
    one = [Member(name="b", content=b"same"), Member(name="a", type=tarfile.LNKTYPE, linkname="b")]
    other = [
        Member(name="a", content=b"same"),
        Member(name="b", type=tarfile.LNKTYPE, linkname="a"),
    ]
    assert normal(layer(one)) == normal(layer(other))
    assert files(normal(layer(one))) == files(layer(one))


def test_the_time_at_which_something_was_removed_is_left_out() -> None:
    early, late = (
        layer([Member(name=".wh.gone", mtime=mtime, mode=0o600)]) for mtime in (1_000, 2_000)
    )
    assert normal(early) == normal(late)


@pytest.mark.parametrize(
    "change",
    [{"mode": 0o600}, {"uid": 1}, {"mtime": 5}, {"content": b"else"}, {"xattrs": {"user.a": "b"}}],
    ids=lambda change: next(iter(change)),
)
def test_what_a_container_sees_makes_another_layer(change: dict[str, object]) -> None:
    plain = Member(name="a", content=b"text")
    changed = Member(**{**vars(plain), **change})
    assert normal(layer([plain])) != normal(layer([changed]))


def test_a_folder_comes_before_what_is_in_it() -> None:
    packed = normal(layer([Member(name="opt/a"), folder("opt/"), folder("opt-b/")]))
    with tarfile.open(fileobj=io.BytesIO(packed)) as opened:
        assert opened.getnames() == ["opt", "opt-b", "opt/a"]


def test_a_normal_layer_stays_as_it_is() -> None:
    once = normal(layer(MEMBERS))
    assert normal(once) == once


# What Engines 20.10 and 26.1 wrote for one Dockerfile, shortened.
OLDER = {
    "architecture": "amd64",
    "config": {"User": "1000:1000", "Env": ["PATH=/bin"], "Labels": {"a": "b"}, "OnBuild": None},
    "container": "f5b2",
    "docker_version": "20.10.24",
    "created": "2026-11-25T19:05:30.292254764Z",
    "history": [
        {"created": "2026-11-25T19:05:17Z", "comment": "Imported from -"},
        {"created": "2026-11-25T19:05:30Z", "created_by": "RUN x", "comment": "buildkit"},
        {"created": "2026-11-25T19:05:30Z", "created_by": "USER 1000:1000", "empty_layer": True},
    ],
    "os": "linux",
    "rootfs": {"type": "layers", "diff_ids": ["sha256:1", "sha256:2"]},
}
NEWER = {
    "os": "linux",
    "architecture": "amd64",
    "config": {"Labels": {"a": "b"}, "Env": ["PATH=/bin"], "User": "1000:1000"},
    "created": "2026-11-25T19:05:32Z",
    "history": [
        {"created": "2026-11-25T19:05:17.3Z", "comment": "Imported from -"},
        {"created": "2026-11-25T19:05:31Z", "created_by": "RUN x", "comment": "buildkit.v0"},
        {"created": "2026-11-25T19:05:32Z", "created_by": "USER 1000:1000", "empty_layer": True},
    ],
    "rootfs": {"type": "layers", "diff_ids": ["sha256:3", "sha256:4"]},
}
DIGESTS = ["sha256:5", "sha256:6"]


def test_two_engines_ways_of_writing_become_one() -> None:
    assert normal_config(OLDER, DIGESTS) == normal_config(NEWER, DIGESTS)


def test_what_a_container_sees_is_kept_and_the_layers_are_those_given() -> None:
    document = json.loads(normal_config(OLDER, DIGESTS))
    assert document["config"] == NEWER["config"]
    assert document["rootfs"]["diff_ids"] == DIGESTS
    assert [step.get("empty_layer", False) for step in document["history"]] == [False, False, True]


def test_the_time_is_that_of_the_label() -> None:
    label = {CREATED: "2025-12-25T01:23:45Z"}
    document = json.loads(normal_config({**OLDER, "config": {"Labels": label}}, DIGESTS))
    times = {document["created"], *(step["created"] for step in document["history"])}
    assert times == {"2025-12-25T01:23:45Z"}


def test_without_a_label_there_is_no_time() -> None:
    assert json.loads(normal_config(OLDER, DIGESTS))["created"] == "1970-01-01T00:00:00Z"
