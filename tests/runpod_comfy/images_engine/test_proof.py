"""Real engines build the same image each time, or the first file that differs is named.

With addresses in VERIFY_ENGINES the same is asked across engines.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest

from comfy_errors import InvalidInputError, UnavailableError
from runpod_comfy.images.proof.normalize import normalize
from runpod_comfy.images.proof.verify import (
    ImageDiffersError,
    NamedEngine,
    first_difference,
    saved_files,
    verify_image,
)
from tests.runpod_comfy.images.saved_archives import Member, folder
from tests.runpod_comfy.images_engine.engines import BuildPlan, all_engines, import_base

OWNER: dict[str, Any] = {"uid": 1000, "gid": 1000, "mtime": 315532800}
LONG = "opt/" + "/".join(f"a-rather-long-folder-name-{number}" for number in range(6))
ADDED = [
    folder("opt/", **OWNER),
    Member(name="opt/a", content=b"a" * 5000, mode=0o640, **OWNER),
    Member(name="opt/another-name", type=tarfile.LNKTYPE, linkname="opt/a", mode=0o640, **OWNER),
    Member(name="opt/grüße", content=b"x", xattrs={"user.note": "hello"}, **OWNER),
    Member(name="opt/link", type=tarfile.SYMTYPE, linkname="a", **OWNER),
    Member(name="opt/null", type=tarfile.CHRTYPE, number=(1, 3), **OWNER),
    *(folder(LONG[: index + 1], **OWNER) for index, char in enumerate(LONG) if char == "/"),
    folder(LONG, **OWNER),
    Member(name=f"{LONG}/deep", content=b"deep", **OWNER),
]
SETTLED = """\
ADD added.tar /
RUN LAYER=one sh -c 'mkdir /opt/new; echo x > /opt/new/x; touch -d @9 /opt/new/x /opt/new /opt'
ENV COLOUR=blue
USER 1000:1000
"""


@pytest.fixture(scope="module")
def engines() -> Iterator[list[NamedEngine]]:
    found = all_engines()
    yield found
    for engine in found:
        engine.client.close()


@pytest.fixture(scope="module")
def base(engines: list[NamedEngine]) -> Iterator[str]:
    name = import_base(engines)
    yield name
    for engine in engines:
        engine.client.images.remove(name, force=True)


@pytest.fixture
def name(engines: list[NamedEngine], request: pytest.FixtureRequest) -> Iterator[str]:
    """A repository of its own; what the test tagged in it is removed."""
    repository = f"runpod-comfy-test-proof-{abs(hash(request.node.nodeid)):x}"
    yield repository
    for engine in engines:
        for image in engine.client.images.list(name=repository):
            for tag in image.tags:
                engine.client.images.remove(tag, force=True)


def test_every_layer_is_the_same_each_time_and_every_file_on_all_engines(
    engines: list[NamedEngine], base: str, name: str
) -> None:
    said: list[str] = []
    build_plan = BuildPlan(base=base, dockerfile=SETTLED, added=ADDED)
    proofs = verify_image(engines, build_plan.build, repository=name, say=said.append)
    assert [len(proof.layers) for proof in proofs] == [3] * len(engines)
    assert len([line for line in said if line.startswith("Build ")]) == 2 * len(engines)
    # Nothing of it stays behind.
    assert not [image for each in engines for image in each.client.images.list(name=name)]


@pytest.mark.parametrize(
    ("command", "path", "what"),
    [
        ("echo x > /opt/when", "opt", "time"),
        (
            "cat /proc/sys/kernel/random/uuid > /opt/id; touch -d @9 /opt/id /opt",
            "opt/id",
            "content",
        ),
        # An engine notes when something of a lower layer was removed.
        ("rm /opt/a; touch -d @9 /opt", "opt/.wh.a", "time"),
    ],
    ids=["time", "content", "removal"],
)
def test_the_first_file_that_differs_is_named_with_its_layer(
    command: str, path: str, what: str, engines: list[NamedEngine], base: str, name: str
) -> None:
    text = f"ADD added.tar /\nRUN LAYER=fickle sh -c '{command}'\nRUN sh -c 'echo > /later'"
    build_plan = BuildPlan(base=base, dockerfile=text, added=ADDED)
    with pytest.raises(ImageDiffersError) as raised:
        verify_image(engines[:1], build_plan.build, repository=name, say=lambda _: None)
    found = raised.value.difference
    assert (found.layer, found.name, found.path, found.what) == (3, "fickle", path, what)
    assert raised.value.exit_code == 4
    assert not engines[0].client.images.list(name=name)


def test_after_normalize_every_build_on_every_engine_has_one_id(
    engines: list[NamedEngine], base: str, name: str, tmp_path: Path
) -> None:
    ids = set()
    # The removal has another time in each build, and the headers are each engine's own.
    text = f"{SETTLED}USER 0:0\nRUN LAYER=two sh -c 'rm /opt/a; touch -d @9 /opt'"
    build_plan = BuildPlan(base=base, dockerfile=text, added=ADDED)
    for engine in engines:
        for tag in (f"{name}:1", f"{name}:2"):
            build_plan.build(engine.client, no_cache=True, tag=tag)
            before = saved_files(engine.client, tag)
            done = normalize(engine.client, tag, base=None, scratch=tmp_path, say=lambda _: None)
            ids.add(done.image_id)
            after = saved_files(engine.client, tag)
            removal = "opt/.wh.a"
            assert removal in after.layers[3]
            assert [dict(each) for each in after.layers[:3]] == [
                dict(each) for each in before.layers[:3]
            ]
            assert engine.client.images.get(tag).id == done.image_id
            if done.before != done.image_id:
                with pytest.raises(docker.errors.ImageNotFound):
                    engine.client.images.get(done.before)
    assert len(ids) == 1
    assert not list(tmp_path.iterdir())


def _output(client: docker.DockerClient, image: str, command: list[str]) -> bytes:
    """All that a container says, read after its end: what is followed may lack the last line."""
    container = client.containers.run(image, command, detach=True, network_mode="none")
    try:
        assert container.wait()["StatusCode"] == 0
        return bytes(container.logs())
    finally:
        container.remove(force=True)


def test_a_normalized_image_runs_as_before(
    engines: list[NamedEngine], base: str, name: str, tmp_path: Path
) -> None:
    client = engines[-1].client
    build_plan = BuildPlan(base=base, dockerfile=SETTLED, added=ADDED)
    build_plan.build(client, no_cache=False, tag=f"{name}:1")
    command = ["sh", "-c", "echo $COLOUR; ls -ln /opt /opt/new; cat /opt/new/x /opt/another-name"]
    before = _output(client, f"{name}:1", command)
    normalize(client, f"{name}:1", base=base, scratch=tmp_path, say=lambda _: None)
    after = _output(client, f"{name}:1", command)
    assert before == after
    assert b"blue" in after


def test_what_is_not_its_base_is_refused(
    engines: list[NamedEngine], base: str, name: str, tmp_path: Path
) -> None:
    client = engines[0].client
    BuildPlan(base=base, dockerfile="ENV A=b").build(client, no_cache=False, tag=f"{name}:1")
    BuildPlan(base=base, dockerfile="ADD added.tar /", added=ADDED).build(
        client, no_cache=False, tag=f"{name}:2"
    )
    with pytest.raises(InvalidInputError, match="is not based on"):
        normalize(client, f"{name}:1", base=f"{name}:2", scratch=tmp_path, say=lambda _: None)
    with pytest.raises(UnavailableError, match="no image"):
        normalize(client, f"{name}:none", base=None, scratch=tmp_path, say=lambda _: None)


def test_images_of_one_recipe_have_equal_files_whichever_engine_saves_them(
    engines: list[NamedEngine], base: str, name: str
) -> None:
    build_plan = BuildPlan(base=base, dockerfile=SETTLED, added=ADDED)
    for engine in engines:
        build_plan.build(engine.client, no_cache=True, tag=f"{name}:1")
    first, *others = [saved_files(engine.client, f"{name}:1") for engine in engines]
    assert first.layers[1]["opt/a"].first_name == "opt/a"
    assert first.layers[1]["opt/null"].number == (1, 3)
    assert [first_difference(first, other) for other in others] == [None] * len(others)
