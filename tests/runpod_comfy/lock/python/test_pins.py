"""Core and nodes solved together, on an index of wheels that the tests make."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import InvalidInputError, UnavailableError
from runpod_comfy.cache.paths import Cache
from runpod_comfy.lock.model import PythonLock
from runpod_comfy.lock.python.pins import lock_python
from runpod_comfy.spec.model import Options
from tests.http_server import Request, serve
from tests.package_index import json_index, make_wheel, write_index
from tests.runpod_comfy.lock.conftest import Bench

# Solves with uv in each test.
pytestmark = pytest.mark.slow

LINUX = "sys_platform == 'linux' and platform_machine == 'x86_64'"


@pytest.fixture
def torch(bench: Bench) -> None:
    for version, triton in (("2.9.0", "3.9"), ("2.11.0", "3.11")):
        needs = [f"triton=={triton} ; sys_platform == 'linux'", "gamma"]
        bench.release("torch", version, requires=needs)
        bench.release("triton", triton)
    bench.release("torchvision", "0.24.0", requires=["torch==2.9.0"])
    bench.release("torchvision", "0.26.0", requires=["torch==2.11.0"])


def _versions(lock: PythonLock) -> dict[str, str]:
    return {item.name: item.version for item in (*lock.torch, *lock.wheels)}


# Constraints


def test_a_constraints_file_of_a_node_bounds_the_whole(bench: Bench) -> None:
    folder = bench.folder / "node-painter"
    folder.mkdir()
    (folder / "bounds.txt").write_text("alpha<2\n")
    assert _versions(bench.lock("alpha\n", painter="-c bounds.txt\n"))["alpha"] == "1.0"


def test_constraints_of_the_spec_are_honoured_and_recorded(bench: Bench) -> None:
    lock = bench.lock("alpha\n", options={"constraints": ["alpha<2"]})
    assert _versions(lock)["alpha"] == "1.0"
    assert lock.constraints == ["alpha<2"]


def test_an_index_of_torch_that_does_not_answer_is_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    options = {"torch": {"index": "http://127.0.0.1:9/whl"}}
    with pytest.raises(UnavailableError, match="options.torch.index") as raised:
        bench.lock("torch\n", options=options)
    assert "'options.torch.index' in the spec" in raised.value.remedy
    assert raised.value.message.count("Connection refused") == 1


def test_a_line_that_uv_cannot_read_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # What no rule of ours foresees.
    monkeypatch.setattr("runpod_comfy.lock.requirements.line.is_requirement", lambda _text: True)
    with pytest.raises(InvalidInputError, match="node:painter, requirements.txt line 2: 'beta_'"):
        bench.lock("alpha\n", painter="gamma\nbeta_\n")


def test_requirements_of_the_spec_are_solved_with_the_rest_and_recorded_as_its_own(
    bench: Bench,
) -> None:
    options = {"requirements": ["gamma", "alpha<2 ; sys_platform == 'linux'"]}
    lock = bench.lock("alpha\n", painter="linux-only\n", options=options)
    assert _versions(lock) == {"alpha": "1.0", "gamma": "1.0", "linux-only": "1.0"}
    found = {item.name: item.requested_by for item in lock.wheels}
    assert found["gamma"] == {"spec": ["gamma"]}
    assert found["alpha"] == {"core": ["alpha"], "spec": ["alpha<2 ; sys_platform == 'linux'"]}
    assert lock.requirements == options["requirements"]
    assert bench.lock("alpha\n", painter="linux-only\n").requirements == []


def test_a_node_that_lists_its_packages_elsewhere_is_reported_once(bench: Bench) -> None:
    folder = bench.folder / "node-frames"
    folder.mkdir()
    (folder / "requirements-no-cupy.txt").write_text("gamma\n")
    trees = [("core", bench.folder / "core"), ("node:frames", folder)]
    (bench.folder / "core").mkdir()
    (bench.folder / "core" / "requirements-dev.txt").write_text("alpha\n")
    lock = lock_python(
        trees,
        options=Options.model_validate({"requirements": ["gamma"]}),
        previous=None,
        fetch_context=bench.fetch_context,
    )
    assert _versions(lock) == {"gamma": "1.0"}
    (note,) = (said for said in bench.said if "not read by resolve" in said)
    assert note.startswith("node:frames has no requirements.txt but requirements-no-cupy.txt")


def test_a_requirement_of_the_spec_in_a_conflict_is_named_by_its_key(bench: Bench) -> None:
    error = bench.error("alpha\n", painter="alpha<2\n", options={"requirements": ["alpha>=2"]})
    assert "options.requirements[0]: alpha>=2" in error.message
    assert "node:painter, requirements.txt line 1: alpha<2" in error.message


# Torch


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize("line", ["torch==2.9.0", "torch<2.10 ; python_version > '3'", "torch==1"])
def test_a_node_that_asks_for_another_torch_does_not_get_it(bench: Bench, line: str) -> None:
    lock = bench.lock("torch\nalpha\n", painter=f"gamma\n{line}\n")
    assert _versions(lock)["torch"] == "2.11.0"
    (replaced,) = lock.replaced
    assert (replaced.asked_by, replaced.place) == ("node:painter", "requirements.txt line 2")
    assert (replaced.requirement, replaced.given) == (line, "torch==2.11.0")
    assert any(f"node:painter, requirements.txt line 2 asks for {line}" in s for s in bench.said)
    assert lock.torch[0].requested_by == {"core": ["torch"], "node:painter": [line]}


@pytest.mark.usefixtures("torch")
def test_a_node_without_a_bound_changes_nothing_about_torch(bench: Bench) -> None:
    lock = bench.lock("torch\n", painter="torch\ntorchvision\ntorch>=2\n")
    assert (_versions(lock)["torch"], _versions(lock)["torchvision"]) == ("2.11.0", "0.26.0")
    assert lock.replaced == []


@pytest.mark.usefixtures("torch")
def test_another_member_of_the_family_follows_the_core(bench: Bench) -> None:
    lock = bench.lock("torch\n", painter="torchvision==0.24.0\ntriton==3.9\n")
    assert _versions(lock)["torchvision"] == "0.26.0"
    assert _versions(lock)["triton"] == "3.11"
    assert {item.requirement for item in lock.replaced} == {"torchvision==0.24.0", "triton==3.9"}


@pytest.mark.usefixtures("torch")
def test_a_distribution_with_a_release_for_this_torch_is_taken_in_that_release(
    bench: Bench,
) -> None:
    bench.release("faster", "1.0", requires=["torch==2.11.0"])
    bench.release("faster", "2.0", requires=["torch==2.9.0"])
    lock = bench.lock("torch\n", painter="faster\n")
    assert (_versions(lock)["faster"], _versions(lock)["torch"]) == ("1.0", "2.11.0")
    assert lock.replaced == []


@pytest.mark.usefixtures("torch")
def test_a_distribution_that_insists_on_another_torch_does_not_get_it(bench: Bench) -> None:
    bench.release("faster", "2.0", requires=["torch==2.9.0"])
    lock = bench.lock("torch\n", painter="faster\n")
    assert _versions(lock)["torch"] == "2.11.0"
    (replaced,) = lock.replaced
    assert (replaced.asked_by, replaced.requirement) == ("faster 2.0", "torch==2.9.0")
    assert any("faster 2.0 asks for torch==2.9.0" in said for said in bench.said)
    assert bench.lock("torch\n", painter="faster\n", previous=lock) == lock


@pytest.mark.usefixtures("torch")
def test_without_torch_in_the_core_the_nodes_agree_on_one(bench: Bench) -> None:
    lock = bench.lock("alpha\n", painter="torch<2.10\n", printer="torch\n")
    assert _versions(lock)["torch"] == "2.9.0"
    error = bench.error("alpha\n", painter="torch<2.10\n", printer="torch>2.10\n")
    assert "node:painter" in error.message
    assert "node:printer" in error.message


@pytest.mark.usefixtures("torch")
def test_an_override_of_the_spec_decides_torch_for_all(bench: Bench) -> None:
    lock = bench.lock(
        "torch>=2.10\n", painter="torch==2.11.0\n", options={"overrides": ["torch==2.9.0"]}
    )
    assert _versions(lock)["torch"] == "2.9.0"


@pytest.mark.usefixtures("torch")
def test_what_a_node_wants_of_nvidia_is_not_part_of_the_torch_group(bench: Bench) -> None:
    bench.release("nvidia-ml-py", "12.0")
    lock = bench.lock("torch\n", painter="nvidia-ml-py\n")
    assert [item.name for item in lock.torch] == ["torch", "triton"]
    assert "nvidia-ml-py" in {item.name for item in lock.wheels}


@pytest.mark.usefixtures("torch")
def test_torch_from_its_own_index_stays_what_it_is_there(bench: Bench, tmp_path: Path) -> None:
    other = tmp_path / "torch-index"
    (other / "files").mkdir(parents=True)
    for name, version in (("torch", "2.11.0"), ("torchaudio", "2.11.0")):
        make_wheel(other / "files", name, f"{version}+cpu")
    make_wheel(other / "files", "torchvision", "0.26.0+cpu", requires=["torch==2.11.0"])
    make_wheel(other / "files", "torch", "2.9.0+cpu")
    write_index(other)
    bench.release("faster", "2.0", requires=["torch==2.9.0"])
    with serve(other) as url:
        options = {"torch": {"index": f"{url}/simple"}}
        lock = bench.lock("torch\n", painter="faster\ntorch==2.9.0+cpu\n", options=options)
    assert _versions(lock)["torch"] == "2.11.0+cpu"
    assert [item.asked_by for item in lock.replaced] == ["faster 2.0", "node:painter"]
    digest = hashlib.sha256(next((other / "files").glob("torch-2.11*")).read_bytes()).hexdigest()
    (torch,) = (item for item in lock.torch if item.name == "torch")
    assert [file.sha256 for file in torch.files] == [digest]


# The same bytes


def _document(lock: PythonLock) -> str:
    return lock.model_dump_json(indent=1)


def test_the_same_lock_from_two_folders_with_two_caches(bench: Bench, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "with a space"
    other.mkdir(parents=True)
    nodes: dict[str, Any] = {"painter": "alpha>=1\n", "printer": "pip install alpha linux-only\n"}
    first = bench.lock("alpha\n", **nodes)
    second = Bench(other, bench.index).lock("alpha\n", **nodes)
    assert _document(first) == _document(second)
    assert str(tmp_path) not in _document(first)


@pytest.fixture
def json_mirror(index: Path) -> Iterator[str]:
    with serve(index, json_index(index)) as url:
        yield url


def test_the_same_lock_through_mirrors_that_tell_more_or_less(
    bench: Bench, json_mirror: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = bench.lock("alpha\nlinux-only\n")
    assert all(file.size for item in first.wheels for file in item.files)
    for number, mirror in enumerate((f"{json_mirror}/simple", (bench.index / "simple").as_uri())):
        monkeypatch.setenv("PIP_INDEX_URL", mirror)
        folder = tmp_path / f"mirror-{number}"
        folder.mkdir()
        assert _document(Bench(folder, bench.index).lock("alpha\nlinux-only\n")) == _document(first)


def test_an_index_is_asked_again_for_its_pages_and_not_for_the_files_that_it_gave(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answering(request: Request) -> None:
        if request.method == "GET":
            asked.append(request.path)

    with serve(bench.index, answering) as url:
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
        bench.lock("alpha\n")
        assert any(path.startswith("/files/alpha-2.0") for path in asked)
        asked.clear()
        bench.release("alpha", "3.0", requires=["gamma"])
        assert _versions(bench.lock("alpha\n")) == {"alpha": "3.0", "gamma": "1.0"}
    assert {path.rpartition("/")[2] for path in asked if "/files/" in path} == {
        "alpha-3.0-py3-none-any.whl"
    }


def test_an_index_that_announces_no_hashes_gives_the_same_lock(bench: Bench) -> None:
    first = bench.lock("alpha\n")
    for name in ("alpha", "gamma"):
        bench.edit_page(name, lambda page: re.sub("#sha256=[0-9a-f]*", "", page))
    assert _document(bench.lock("alpha\n")) == _document(first)


def test_a_withdrawn_release_stays_where_it_is_locked(bench: Bench) -> None:
    first = bench.lock("alpha\n")
    bench.edit_page("alpha", lambda page: page.replace('">alpha-2', '" data-yanked="bad">alpha-2'))
    cache = Cache(root=bench.folder / "another-cache")
    bench.fetch_context = replace(bench.fetch_context, cache=cache)
    assert _document(bench.lock("alpha\n", previous=first)) == _document(first)
    assert _versions(bench.lock("alpha\n"))["alpha"] == "1.0"


def test_a_pin_that_no_index_has_any_more_moves_and_that_is_reported(bench: Bench) -> None:
    first = bench.lock("alpha\n")
    next((bench.index / "files").glob("alpha-2*")).unlink()
    write_index(bench.index)
    cache = Cache(root=bench.folder / "another-cache")
    bench.fetch_context = replace(bench.fetch_context, cache=cache)
    assert _versions(bench.lock("alpha\n", previous=first))["alpha"] == "1.0"
    assert any(said.startswith("alpha goes from 2.0 to 1.0") for said in bench.said)
    bench.said.clear()
    bench.lock("alpha\n", previous=bench.lock("alpha\n"))
    assert not any("goes from" in said for said in bench.said)


def test_another_python_has_its_own_files_of_the_same_release(bench: Bench) -> None:
    for tag in ("cp311-cp311", "cp312-cp312"):
        bench.release("native", "1.0", tag=f"{tag}-manylinux_2_17_x86_64")
    linux = {"platforms": ["linux-x86_64"]}
    first = bench.lock("native\n", options=linux)
    second = bench.lock("native\n", options={**linux, "python": "3.12"}, previous=first)
    assert ["cp311" in first.wheels[0].files[0].name, len(second.wheels[0].files)] == [True, 1]
    assert "cp312" in second.wheels[0].files[0].name


def test_what_a_machine_tells_its_uv_does_not_change_the_lock(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bound = tmp_path / "bound.txt"
    bound.write_text("alpha<2\n")
    monkeypatch.setenv("UV_CONSTRAINT", str(bound))
    monkeypatch.setenv("UV_EXCLUDE_NEWER", "2001-01-01")
    assert _versions(bench.lock("alpha\n"))["alpha"] == "2.0"


def test_sources_only_are_warned_of(bench: Bench) -> None:
    bench.release("half", "1.0", tag="py3-none-manylinux_2_17_x86_64")
    source = bench.index / "files" / "half-1.0.tar.gz"
    source.write_bytes(b"never opened: the wheel tells what it needs")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    link = f'<a href="../../files/{source.name}#sha256={digest}">{source.name}</a></body>'
    bench.edit_page("half", lambda page: page.replace("</body>", link))
    lock = bench.lock("half\n", options={"platforms": ["linux-x86_64", "macos-arm64"]})
    assert [file.name for file in lock.wheels[0].files] == [
        "half-1.0-py3-none-manylinux_2_17_x86_64.whl",
        "half-1.0.tar.gz",
    ]
    assert any("half 1.0 has no wheel for macos-arm64" in said for said in bench.said)
