"""The context of a build, as a tar file."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from runpod_comfy.images.context.inputs import BuildInputs, write_context
from runpod_comfy.images.dockerfile import Step
from runpod_comfy.images.plan import make_steps
from runpod_comfy.layers.plan import TreeInput, make_plan
from tests.locks import small_lock


@pytest.fixture
def steps() -> list[Step]:
    lock = small_lock()
    return make_steps(make_plan(lock, platform="linux-x86_64"), lock, handler="h")


@pytest.fixture
def trees(tmp_path: Path) -> dict[str, Path]:
    """The core and two nodes, on disk."""
    found = {}
    for digit in "123":
        folder = tmp_path / f"tree-{digit}"
        (folder / "deep").mkdir(parents=True)
        (folder / "main.py").write_text(f"NUMBER = {digit}\n")
        (folder / "deep" / "run.sh").write_text("#!/bin/sh\n")
        (folder / "deep" / "run.sh").chmod(0o755)
        found[f"tree:{digit * 40}"] = folder
    return found


def _context(
    steps: list[Step],
    trees: Mapping[str, Path],
    *,
    workflows: Mapping[str, bytes] | None = None,
    user: str = "1000:1000",
) -> bytes:
    target = io.BytesIO()
    build_inputs = BuildInputs(
        trees=trees,
        tools={},
        files={"layers/check/inputs/x": b"x"},
        workflows=workflows or {},
        user=user,
    )
    write_context(target, dockerfile="FROM scratch\n", steps=steps, build_inputs=build_inputs)
    return target.getvalue()


def _members(context: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(context)) as archive:
        return {member.name: member for member in archive}


def _inner(context: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(context)) as archive:
        content = archive.extractfile(name)
        assert content is not None
        return content.read()


def test_the_same_build_has_the_same_bytes(
    steps: list[Step], trees: Mapping[str, Path], tmp_path: Path
) -> None:
    before = _context(steps, trees, workflows={"b.json": b"{}", "a.json": b"{}"})
    for path in tmp_path.rglob("*"):
        os.utime(path, (1_600_000_000.5, 1_600_000_000.5))
        if path.suffix == ".py":
            path.chmod(0o600)
    assert _context(steps, trees, workflows={"a.json": b"{}", "b.json": b"{}"}) == before


def test_the_builder_knows_it_for_an_archive(steps: list[Step], trees: Mapping[str, Path]) -> None:
    """BuildKit takes a tar that begins with a PAX header for a Dockerfile."""
    (trees["tree:" + "2" * 40] / ("long" * 60)).write_text("")
    (trees["tree:" + "2" * 40] / "grüße").write_text("")
    context = _context(steps, trees)
    members = _members(context)
    assert next(iter(members)) == "Dockerfile"
    assert context[257:265] == b"ustar  \0"
    assert not any(member.pax_headers for member in members.values())
    assert all(member.mtime == int(member.mtime) for member in members.values())
    assert any(name.endswith("/grüße") for name in members)


def test_a_step_is_given_its_own_scripts_and_inputs_and_no_others(
    steps: list[Step], trees: Mapping[str, Path]
) -> None:
    names = set(_members(_context(steps, trees)))
    for step in steps:
        given = {
            name.removeprefix(f"{step.folder}/")
            for name in names
            if name.startswith(f"{step.folder}/")
        }
        expected = {script.name for script in step.scripts}
        for each in step.inputs:
            if isinstance(each, TreeInput):
                expected |= {f"inputs/tree/{name}" for name in ("main.py", "deep/run.sh")}
            else:
                expected.add(f"inputs/{each.name}")
        expected |= {"inputs/x"} if step.name == "check" else set()
        assert given == expected


def test_a_node_changes_nothing_outside_its_own_folder_but_what_names_everything(
    steps: list[Step], trees: Mapping[str, Path]
) -> None:
    def contents(context: bytes) -> dict[str, bytes]:
        return {
            name: _inner(context, name)
            for name, member in _members(context).items()
            if member.isfile()
        }

    before = contents(_context(steps, trees))
    (trees["tree:" + "3" * 40] / "main.py").write_text("NUMBER = 4\n")
    after = contents(_context(steps, trees))
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"layers/node-a/inputs/tree/main.py"}


def test_links_are_taken_along_as_links_and_lead_to_no_file_of_this_machine(
    steps: list[Step], trees: Mapping[str, Path], tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("a private key")
    node = trees["tree:" + "3" * 40]
    (node / "link").symlink_to(secret / "key")
    (node / "folder").symlink_to(secret)
    context = _context(steps, trees)
    members = _members(context)
    assert members["layers/node-a/inputs/tree/link"].issym()
    assert members["layers/node-a/inputs/tree/folder"].issym()
    assert b"a private key" not in context


def test_only_executables_are_executable(steps: list[Step], trees: Mapping[str, Path]) -> None:
    members = _members(_context(steps, trees))
    assert members["layers/node-a/inputs/tree/deep/run.sh"].mode == 0o755
    assert members["layers/node-a/inputs/tree/main.py"].mode == 0o644


def test_workflows_and_the_users_folders_belong_to_the_user(
    steps: list[Step], trees: Mapping[str, Path]
) -> None:
    context = _context(steps, trees, workflows={"example.json": b"{}"}, user="7:8")
    workflows = _members(_inner(context, "workflows.tar"))
    assert list(workflows) == ["app", "app/workflows", "app/workflows/example.json"]
    assert {(each.uid, each.gid) for each in workflows.values()} == {(7, 8)}
    frame = _members(_inner(context, "frame.tar"))
    owned = {name for name, each in frame.items() if (each.uid, each.gid) == (7, 8)}
    assert owned == {"app", "home/comfy"}


def test_what_is_added_names_each_of_its_folders(
    steps: list[Step], trees: Mapping[str, Path]
) -> None:
    """A folder that an `ADD`ed tar leaves out gets the time of the build."""
    context = _context(steps, trees, workflows={"example.json": b"{}"})
    for name in ("frame.tar", "workflows.tar"):
        members = _members(_inner(context, name))
        for path in members:
            parents = [str(parent) for parent in Path(path).parents][:-1]
            assert all(parent in members for parent in parents)


def test_without_workflows_their_folder_is_there_and_empty(
    steps: list[Step], trees: Mapping[str, Path]
) -> None:
    workflows = _members(_inner(_context(steps, trees), "workflows.tar"))
    assert list(workflows) == ["app", "app/workflows"]
