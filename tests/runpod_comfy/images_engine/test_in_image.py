"""What surrounds every step of a build leaves nothing in a layer but what the step is for."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from runpod_comfy.images.proof.verify import first_digest_difference, saved_files
from tests.runpod_comfy.images_engine.builds import build
from tests.runpod_comfy.images_engine.small_image import base_tar, context

IN_IMAGE = Path(__file__).parents[3] / "images" / "layers" / "in_image.sh"
EPOCH = 315_999_999
PROGRAMS = ("/bin/date", "/bin/dirname", "/bin/find", "/bin/grep", "/bin/xargs")
STEP = """\
mkdir /opt /var/log/new; echo kept > /opt/kept
echo more >> /var/log/of-the-base; echo new > /var/log/new/log
echo x > /tmp/left; echo x > "$HOME/left"
"""
DOCKERFILE = """\
FROM {base}
ENV SOURCE_DATE_EPOCH={epoch}
RUN --mount=type=bind,source=step,target=/mnt LAYER=step VENV=/opt/venv {variables} \
    sh /mnt/in_image.sh step.sh
"""
NARROW_STEP = """\
mkdir -p /opt/home/deep; echo kept > /opt/home/deep/kept
echo x > /tmp/left; echo x > "$HOME/left"
"""


@pytest.fixture
def base(engine: docker.DockerClient) -> Iterator[str]:
    """With two logs of its own, and what a step needs."""
    files = {
        **dict.fromkeys(("/dev/.keep", "/proc/.keep", "/sys/.keep", "/tmp/.keep"), b""),
        **dict.fromkeys(("/etc/hosts", "/etc/resolv.conf"), b""),
        **dict.fromkeys(("/var/log/of-the-base", "/var/log/untouched"), b"of the base\n"),
    }
    repository, tag = "runpod-comfy-test-base", uuid.uuid4().hex[:12]
    engine.api.import_image_from_data(
        base_tar(files, programs=PROGRAMS), repository=repository, tag=tag
    )
    yield f"{repository}:{tag}"
    engine.images.remove(f"{repository}:{tag}", force=True)


def test_a_layer_has_what_its_step_made_no_litter_and_no_trace_of_the_bases(
    engine: docker.DockerClient, base: str, name: str
) -> None:
    text = DOCKERFILE.format(base=base, epoch=EPOCH, variables="")
    inputs = {"step/in_image.sh": IN_IMAGE.read_bytes(), "step/step.sh": STEP.encode()}
    for number in (1, 2):
        build(engine, context(text, inputs), tags=[f"{name}:{number}"], no_cache=True)
    first, second = (saved_files(engine, f"{name}:{number}") for number in (1, 2))
    layer = first.layers[-1]
    files = {path for path, file in layer.items() if file.kind != "folder"}
    # Removing what a lower layer has would be noted with the time of the build.
    assert files == {"opt/kept", "var/log/of-the-base"}
    assert layer["var/log/of-the-base"].size == 0
    assert "var/log/new" not in layer
    written = ("opt", "opt/kept", "tmp", "var/log", "var/log/of-the-base")
    assert {layer[path].mtime for path in written} == {EPOCH}
    assert first_digest_difference(first, second) is None


def test_a_step_that_says_where_it_writes_leaves_the_same_as_if_all_were_searched(
    engine: docker.DockerClient, base: str, name: str
) -> None:
    inputs = {"step/in_image.sh": IN_IMAGE.read_bytes(), "step/step.sh": NARROW_STEP.encode()}
    for tag, variables in (
        ("all", ""),
        ("narrow", "WRITES=/opt/home"),
        ("again", "WRITES=/opt/home"),
    ):
        text = DOCKERFILE.format(base=base, epoch=EPOCH, variables=variables)
        build(engine, context(text, inputs), tags=[f"{name}:{tag}"], no_cache=True)
    everywhere, narrow, again = (
        saved_files(engine, f"{name}:{tag}") for tag in ("all", "narrow", "again")
    )
    layer = narrow.layers[-1]
    assert {path for path, file in layer.items() if file.kind != "folder"} == {"opt/home/deep/kept"}
    assert {file.mtime for file in layer.values()} == {EPOCH}
    assert layer == everywhere.layers[-1]
    assert first_digest_difference(narrow, again) is None
