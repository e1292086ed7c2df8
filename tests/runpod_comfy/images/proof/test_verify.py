"""The first file that differs is named, with what differs of it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from typing import Any

import pytest

from runpod_comfy.images.proof.saved_image import ImageFiles, read_image
from runpod_comfy.images.proof.verify import (
    first_difference,
    first_digest_difference,
)
from tests.runpod_comfy.images.saved_archives import (
    Member,
    config_of,
    folder,
    layer,
    saved_as_20_10,
    saved_as_26,
)

LOWER = [folder("opt/"), Member(name="opt/a", content=b"one")]
UPPER = [
    folder("opt/"),
    Member(name="opt/b", content=b"two"),
    Member(name="opt/c", type=tarfile.SYMTYPE, linkname="b"),
]


def image(*layers: Sequence[Member], **config: Any) -> ImageFiles:
    packed = [layer(each) for each in layers]
    return read_image(io.BytesIO(saved_as_20_10(packed, config_of(packed, **config))))


def changed(**changes: Any) -> list[Member]:
    """UPPER with a changed `opt/b`."""
    first, second, third = UPPER
    return [first, Member(**{**vars(second), **changes}), third]


@pytest.mark.parametrize(
    ("changes", "what", "values"),
    [
        ({"mode": 0o755}, "mode", ("0644", "0755")),
        ({"uid": 1000}, "uid", ("0", "1000")),
        ({"gid": 1000}, "gid", ("0", "1000")),
        ({"mtime": 86400}, "time", ("1970-01-01 00:00:00 UTC", "1970-01-02 00:00:00 UTC")),
        ({"content": b"three"}, "size", ("3 bytes", "5 bytes")),
        ({"type": tarfile.DIRTYPE, "content": b""}, "kind", ("file", "folder")),
        (
            {"xattrs": {"user.a": "b"}},
            "extended attributes",
            ("()", "(('SCHILY.xattr.user.a', 'b'),)"),
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_the_file_and_what_differs_of_it_are_named(
    changes: dict[str, Any], what: str, values: tuple[str, str]
) -> None:
    found = first_difference(image(LOWER, UPPER), image(LOWER, changed(**changes)))
    assert found is not None
    assert (found.layer, found.name, found.path) == (2, "layer-1", "opt/b")
    assert (found.what, found.values) == (what, values)


def test_bytes_of_the_same_length_differ_in_content() -> None:
    found = first_difference(image(LOWER, UPPER), image(LOWER, changed(content=b"owt")))
    assert found is not None
    assert (found.path, found.what) == ("opt/b", "content")


def test_the_first_of_several_is_reported_with_its_layer() -> None:
    other = image([folder("opt/", uid=1), Member(name="opt/a", content=b"uno")], changed(mode=0))
    found = first_difference(image(LOWER, UPPER), other)
    assert found is not None
    assert found.in_words() == "layer 1, 'layer-0': /opt: uid, 0 against 1"


def test_a_file_that_only_one_has_is_reported() -> None:
    found = first_difference(image(LOWER, UPPER), image(LOWER, UPPER[:-1]))
    assert found is not None
    assert (found.path, found.values) == ("opt/c", ("there", "missing"))


def test_a_link_to_elsewhere_is_reported() -> None:
    elsewhere = [*UPPER[:-1], Member(name="opt/c", type=tarfile.SYMTYPE, linkname="../etc/passwd")]
    found = first_difference(image(LOWER, UPPER), image(LOWER, elsewhere))
    assert found is not None
    assert (found.what, found.values) == ("link target", ("b", "../etc/passwd"))


def test_a_copy_in_place_of_another_name_of_the_same_file_is_reported() -> None:
    linked = [Member(name="a", content=b"x"), Member(name="b", type=tarfile.LNKTYPE, linkname="a")]
    copied = [Member(name="a", content=b"x"), Member(name="b", content=b"x")]
    found = first_difference(image(linked), image(copied))
    assert found is not None
    assert found.what == "first name of the same file"


def test_a_missing_layer_is_reported() -> None:
    found = first_difference(image(LOWER, UPPER), image(LOWER))
    assert found is not None
    assert (found.layer, found.values) == (2, ("2 layers", "1 layers"))


def test_a_setting_that_differs_is_reported_where_all_files_are_equal() -> None:
    other = image(LOWER, UPPER, config={"Env": ["PATH=/elsewhere"], "Labels": {"a": "b"}})
    found = first_difference(image(LOWER, UPPER), other)
    assert found is not None
    assert found.in_words().startswith("the configuration: config is ")


def test_headers_do_not_count_between_engines_but_do_on_one() -> None:
    named = [Member(**{**vars(member), "owner": "root"}) for member in UPPER]
    one, other = image(LOWER, UPPER), image(LOWER, named)
    assert first_difference(one, other) is None
    found = first_digest_difference(one, other)
    assert found is not None
    assert (found.layer, found.path) == (2, None)
    assert found.values == (one.digests[1], other.digests[1])


def test_one_image_saved_by_two_engines_is_equal() -> None:
    packed = [layer(LOWER), layer(UPPER)]
    older, newer = (read_image(io.BytesIO(save(packed))) for save in (saved_as_20_10, saved_as_26))
    assert first_difference(older, newer) is None
    assert first_digest_difference(older, newer) is None
