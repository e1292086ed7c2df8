"""`prove --image`: the small version, made twice as a home and twice as an image."""

from __future__ import annotations

from tests.docker.small_version import SmallVersions


def test_a_version_and_its_image_are_the_same_when_they_are_made_twice(
    versions: SmallVersions, base_image: str
) -> None:
    graph = versions.program.folder / "workflows" / "example.json"
    done = versions.program(
        *("prove", "small", "--image", "--base", base_image, "--workflow", graph, "--json")
    )
    parts = {part["part"]: part for part in done.document()["parts"]}
    assert {part["verdict"] for part in parts.values()} == {"equal"}
    assert {"lock", "core", "environment", "outputs:example", "image"} <= parts.keys()
    assert all(layer.startswith("sha256:") for layer in parts["image"]["layers"])
    assert len(parts["image"]["layers"]) > len(parts)
