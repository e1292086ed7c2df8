"""What a build would do again follows from the plan's order and from who looks at whom."""

from __future__ import annotations

from pathlib import Path

import docker
import pytest

from comfy_errors import InvalidInputError, UnavailableError
from runpod_comfy.images.dockerfile import Step
from runpod_comfy.images.plan import make_steps
from runpod_comfy.images.show import ShownImage, ShownLayer, find_built, redone_after, redone_now
from runpod_comfy.layers.plan import make_plan
from runpod_comfy.lock.model import Lock
from runpod_comfy.lock.store import load_lock
from tests.http_server import Answer, Request, serve
from tests.locks import node

DEMO = load_lock(Path(__file__).parents[3] / "lockfiles" / "comfy-demo.lock.json")


def lock(*nodes: tuple[str, str]) -> Lock:
    return DEMO.model_copy(update={"custom_nodes": [node(*each) for each in nodes]})


def steps(of: Lock, *, handler: str = "sha256:1") -> list[Step]:
    return make_steps(make_plan(of, platform="linux-x86_64"), of, handler=handler)


def image(of: Lock) -> ShownImage:
    """As a build of that lock would leave it, on a base."""
    layers = [ShownLayer(name=step.name, size_bytes=1, key=step.key) for step in steps(of)]
    return ShownImage(
        image_id="sha256:1",
        tags=(),
        lock_digest=of.digest,
        size_bytes=1,
        layers=(ShownLayer(name="imported", size_bytes=1), *layers),
        base=BASE,
    )


BASE = "base:local"
BEFORE = lock(("a", "1"), ("b", "2"), ("c", "3"))


def test_an_image_that_is_not_there_names_the_command_that_builds_it() -> None:
    def answer(_request: Request) -> Answer:
        return Answer(status=404, body=b'{"message": "No such image: runpod-comfy:x"}')

    with serve(None, answer) as url:
        client = docker.DockerClient(url.replace("http://", "tcp://"), version="1.41")
        with pytest.raises(UnavailableError, match="runpod-comfy:x") as caught:
            find_built(client, "runpod-comfy:x")
        client.close()
    assert "runpod-comfy image build" in caught.value.remedy
    assert "make" not in caught.value.remedy


def test_a_changed_node_is_new_and_so_is_the_check_and_later_nodes_come_out_the_same() -> None:
    redone = {each.name: each.fate for each in redone_after(steps(BEFORE), ["node:b"])}
    assert redone["node:b"] == redone["check"] == "new"
    assert redone["node:c"] == "same"
    others = redone.keys() - {"node:b", "node:c", "check"}
    assert {redone[name] for name in others} == {"kept"}


def test_a_changed_core_makes_its_folders_of_models_new_as_well() -> None:
    redone = {each.name: each.fate for each in redone_after(steps(BEFORE), ["core"])}
    assert [name for name, fate in redone.items() if fate == "new"] == ["core", "models", "check"]
    assert redone["torch"] == redone["wheels"] == "kept"
    assert redone["node:a"] == "same"


def test_a_changed_torch_makes_all_its_layers_new() -> None:
    redone = {each.name: each.fate for each in redone_after(steps(BEFORE), ["torch"])}
    torch = [name for name in redone if name.startswith("torch")]
    assert len(torch) > 1
    assert {redone[name] for name in torch} == {"new"}
    assert redone["core"] == "same"


def test_an_install_script_looks_at_everything_before_it() -> None:
    asked = BEFORE.model_copy(update={"run_install_scripts": ["c"]})
    redone = {each.name: each.fate for each in redone_after(steps(asked), ["node:a"])}
    assert redone["install:c"] == "new"
    assert redone["node:b"] == redone["node:c"] == "same"


def test_what_is_not_a_layer_is_reported_with_those_that_are() -> None:
    with pytest.raises(InvalidInputError, match="no layer 'node:z'") as raised:
        redone_after(steps(BEFORE), ["node:z"])
    assert "node:a, node:b, node:c, check" in raised.value.remedy


@pytest.mark.parametrize(
    ("after", "new", "same"),
    [
        (BEFORE, [], []),
        (lock(("a", "1"), ("b", "4"), ("c", "3")), ["node:b", "check"], ["node:c"]),
        (
            lock(("a", "1"), ("aa", "4"), ("b", "2"), ("c", "3")),
            ["node:aa", "check"],
            ["node:b", "node:c"],
        ),
        (lock(("a", "1"), ("c", "3")), ["check"], ["node:c"]),
    ],
    ids=["nothing", "changed", "added", "removed"],
)
def test_an_image_is_compared_with_what_the_lock_says_now(
    after: Lock, new: list[str], same: list[str]
) -> None:
    redone = redone_now(steps(after), image(BEFORE), base=BASE)
    assert [each.name for each in redone if each.fate == "new"] == new
    assert [each.name for each in redone if each.fate == "same"] == same


def test_a_changed_handler_makes_the_check_new_though_the_lock_is_the_same() -> None:
    redone = redone_now(steps(BEFORE, handler="sha256:2"), image(BEFORE), base=BASE)
    assert [each.name for each in redone if each.fate == "new"] == ["handler", "check"]


def test_on_another_base_everything_is_new() -> None:
    redone = redone_now(steps(BEFORE), image(BEFORE), base="another:base")
    assert {each.fate for each in redone} == {"new"}


def test_an_image_that_is_not_ours_has_nothing() -> None:
    stranger = ShownImage(image_id="sha256:1", tags=(), lock_digest=None, size_bytes=1, layers=())
    assert {each.fate for each in redone_now(steps(BEFORE), stranger, base=BASE)} == {"new"}
