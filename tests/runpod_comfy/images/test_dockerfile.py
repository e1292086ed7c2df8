"""The text of Dockerfiles: expected ones are in `dockerfiles/`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from runpod_comfy.images.docker.build_progress import layer_in
from runpod_comfy.images.dockerfile import dockerfile
from runpod_comfy.images.plan import make_steps
from runpod_comfy.layers.plan import make_plan
from runpod_comfy.lock.model import Lock
from runpod_comfy.project import LAYER_SCRIPTS
from tests.locks import bare_lock, small_lock

_EXPECTED = Path(__file__).parent / "dockerfiles"
_LABELS = {"b.title": 'ComfyUI "small" for $5 \\ month', "a.version": "small"}
_VERSIONS = {
    "whole": small_lock(),
    "bare": bare_lock(epoch=1_700_000_000),
}


def _dockerfile(lock: Lock, folder: Path) -> str:
    # As if all scripts were empty: the keys follow from the lock alone.
    folder.mkdir()
    for script in LAYER_SCRIPTS.iterdir():
        (folder / script.name).touch()
    plan = make_plan(lock, platform="linux-x86_64", scripts=folder)
    steps = make_steps(plan, lock, handler="of the handler", base_packages=["python3.11"])
    return dockerfile(
        steps,
        base="debian:bookworm-slim@sha256:" + "d" * 64,
        python="3.11",
        user="1000:1000",
        version_id="small",
        labels=_LABELS,
    )


@pytest.mark.parametrize("name", _VERSIONS)
def test_a_lock_gives_the_expected_dockerfile(name: str, tmp_path: Path) -> None:
    text = _dockerfile(_VERSIONS[name], tmp_path / "layers")
    expected = _EXPECTED / f"{name}.Dockerfile"
    if os.environ.get("WRITE_EXPECTED"):
        expected.write_text(text)
    assert text == expected.read_text(), (
        "if that is as you want it, write the files again: WRITE_EXPECTED=1 .venv/bin/python -m "
        "pytest tests/runpod_comfy/images/test_dockerfile.py"
    )


def test_every_step_is_given_its_own_folder_and_no_other(tmp_path: Path) -> None:
    given = []
    for run in _runs(_dockerfile(small_lock(), tmp_path / "layers")):
        (source,) = [word for word in run if word.startswith("--mount=type=bind,source=layers/")]
        given.append(source)
    assert len(given) == len(set(given)) == 12


def test_a_failing_step_can_be_known_by_its_layer(tmp_path: Path) -> None:
    text = _dockerfile(small_lock(), tmp_path / "layers")
    names = [layer_in(" ".join(run)) for run in _runs(text)]
    assert names == [
        *("system", "torch", "torch-2", "torch-3", "wheels", "handler", "core", "models"),
        *("node:a", "node:b.node", "install:a", "check"),
    ]


def test_only_steps_that_install_packages_get_the_installer_and_its_cache(tmp_path: Path) -> None:
    with_installer = [
        layer_in(" ".join(run))
        for run in _runs(_dockerfile(small_lock(), tmp_path / "layers"))
        if any(word.startswith("--mount=type=cache,") for word in run)
    ]
    assert with_installer == ["torch", "torch-2", "torch-3", "wheels", "handler"]


def test_nothing_is_used_that_the_oldest_engine_lacks(tmp_path: Path) -> None:
    text = _dockerfile(small_lock(), tmp_path / "layers")
    for newer in ("# syntax", "<<", "--link", "COPY", "--network", "--mount=type=secret"):
        assert newer not in text


def test_the_labels_come_last(tmp_path: Path) -> None:
    lines = _dockerfile(small_lock(), tmp_path / "layers").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("LABEL"))
    assert all(line.startswith("LABEL ") for line in lines[first:])


def _runs(text: str) -> list[list[str]]:
    joined = text.replace("\\\n", "")
    return [shlex.split(line) for line in joined.splitlines() if line.startswith("RUN ")]
