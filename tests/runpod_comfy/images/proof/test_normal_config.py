"""Configurations that say the same to a container become the same bytes."""

from __future__ import annotations

import json

from runpod_comfy.images.labels import CREATED
from runpod_comfy.images.proof.normal_config import normal_config

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
