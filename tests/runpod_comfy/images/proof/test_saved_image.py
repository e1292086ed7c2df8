"""Archives of images are read in one pass, whichever engine wrote them."""

from __future__ import annotations

import io
import tarfile

import pytest

from comfy_errors import InvalidInputError
from runpod_comfy.images.proof.saved_image import ChunkStream, read_image
from tests.runpod_comfy.images.saved_archives import (
    Member,
    folder,
    layer,
    saved_as_20_10,
    saved_as_26,
)

LONG = "/".join(f"a-rather-long-folder-name-{number}" for number in range(12))
LOWER = layer([folder("opt/"), Member(name="opt/a", content=b"one"), Member(name="opt/b")])
UPPER = layer(
    [
        folder("opt/", uid=1000, gid=1000),
        Member(name="opt/.wh.b", mode=0o600),
        Member(name="opt/c", content=b"kept twice", mode=0o4755, mtime=315532800.75),
        Member(name="opt/a-link", type=tarfile.SYMTYPE, linkname="a"),
        Member(name="opt/same", type=tarfile.LNKTYPE, linkname="opt/c"),
        Member(name="opt/null", type=tarfile.CHRTYPE, number=(1, 3)),
        Member(name=f"{LONG}/grüße", content=b"deep", xattrs={"user.note": "hello"}),
    ]
)


@pytest.mark.parametrize(
    "archive",
    [
        saved_as_20_10([LOWER, UPPER]),
        saved_as_26([LOWER, UPPER]),
        saved_as_26([LOWER, UPPER], packed=True),
    ],
    ids=["20.10", "26", "compressed"],
)
def test_every_file_of_every_layer_is_read(archive: bytes) -> None:
    image = read_image(io.BytesIO(archive))
    lower, upper = image.layers
    assert sorted(lower) == ["opt", "opt/a", "opt/b"]
    assert upper["opt"].kind == "folder"
    assert (upper["opt"].uid, upper["opt"].gid) == (1000, 1000)
    assert upper["opt/.wh.b"].kind == "removal"
    assert (upper["opt/c"].mode, upper["opt/c"].mtime) == (0o4755, 315532800)
    assert upper["opt/a-link"].target == "a"
    assert upper["opt/null"].number == (1, 3)
    assert upper[f"{LONG}/grüße"].size == 4
    assert upper[f"{LONG}/grüße"].xattrs == (("SCHILY.xattr.user.note", "hello"),)


def test_all_names_of_a_file_are_the_same_file_whichever_holds_the_content() -> None:
    one = layer(
        [
            Member(name="b", content=b"same", mode=0o600),
            Member(name="a", type=tarfile.LNKTYPE, linkname="b"),
        ]
    )
    other = layer(
        [
            Member(name="a", content=b"same", mode=0o600),
            Member(name="b", type=tarfile.LNKTYPE, linkname="a"),
        ]
    )
    (mine,) = read_image(io.BytesIO(saved_as_26([one]))).layers
    (others,) = read_image(io.BytesIO(saved_as_26([other]))).layers
    assert mine == others
    assert mine["b"].first_name == "a"
    assert mine["a"].sha256 == mine["b"].sha256


def test_a_layer_that_occurs_twice_is_saved_once_and_read_twice() -> None:
    image = read_image(io.BytesIO(saved_as_20_10([LOWER, UPPER, LOWER])))
    assert image.layers[0] == image.layers[2] != image.layers[1]


def test_chunks_of_any_size_are_read_as_one_stream() -> None:
    archive = saved_as_20_10([LOWER, UPPER])
    pieces = (archive[start : start + 1000] for start in range(0, len(archive), 1000))
    image = read_image(io.BufferedReader(ChunkStream(pieces)))
    assert image.layers == read_image(io.BytesIO(archive)).layers


@pytest.mark.parametrize(
    "broken",
    [
        b"nothing of the kind",
        layer([Member(name="a", content=b"x")]),
        saved_as_20_10([LOWER, UPPER])[:3000],
    ],
    ids=["no tar file", "another tar file", "cut short"],
)
def test_what_is_not_an_archive_of_an_image_is_reported(broken: bytes) -> None:
    with pytest.raises(InvalidInputError, match="archive of"):
        read_image(io.BytesIO(broken))


def test_hard_links_that_lead_in_a_circle_are_refused() -> None:
    circle = layer(
        [
            Member(name="a", type=tarfile.LNKTYPE, linkname="b"),
            Member(name="b", type=tarfile.LNKTYPE, linkname="a"),
        ]
    )
    with pytest.raises(InvalidInputError, match="only lead to each other"):
        read_image(io.BytesIO(saved_as_26([circle])))


def test_a_hard_link_that_leads_into_a_circle_is_refused() -> None:
    links = {"start": "a", "a": "b", "b": "a"}
    members = [Member(name=name, type=tarfile.LNKTYPE, linkname=to) for name, to in links.items()]
    with pytest.raises(InvalidInputError, match="only lead to each other"):
        read_image(io.BytesIO(saved_as_26([layer(members)])))
