"""What is wrong with the requirements is said at once, and one paste settles it."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import ComfyError, InvalidInputError, OperationFailedError, UnavailableError
from runpod_comfy.lock.model import PythonLock
from tests.http_server import Answer, Request, serve
from tests.package_index import make_wheel
from tests.runpod_comfy.lock.conftest import Bench

# Solves with uv in each test.
pytestmark = pytest.mark.slow


def versions(lock: PythonLock) -> dict[str, str]:
    return {item.name: item.version for item in (*lock.torch, *lock.wheels)}


def pasted(error: ComfyError) -> dict[str, list[str]]:
    """The options that an error offers."""
    _, found, after = error.remedy.partition('"options": ')
    assert found, error.remedy
    options: dict[str, list[str]] = json.JSONDecoder().raw_decode(after)[0]
    return options


@pytest.fixture
def torch(bench: Bench) -> None:
    for version in ("2.9.0", "2.11.0"):
        bench.release("torch", version)


def test_a_conflict_names_both_nodes_and_the_offered_override_settles_it(bench: Bench) -> None:
    lines: dict[str, Any] = {"painter": "# palette\nalpha<2\n", "printer": "alpha>=2 # new\n"}
    error = bench.error("gamma\n", **lines)
    assert isinstance(error, OperationFailedError)
    assert "node:painter, requirements.txt line 2: alpha<2" in error.message
    assert "node:printer, requirements.txt line 1: alpha>=2" in error.message
    assert "core" not in error.message
    settled = bench.lock("gamma\n", options=pasted(error), **lines)
    assert versions(settled)["alpha"] == "2.0"
    assert settled.overrides == pasted(error)["overrides"] == ["alpha>=2"]
    assert "node:painter, requirements.txt line 2" in error.remedy


def test_a_conflict_through_other_distributions_names_the_lines_that_lead_there(
    bench: Bench,
) -> None:
    bench.release("old-side", "1.0", requires=["alpha<2"])
    bench.release("new-side", "1.0", requires=["between"])
    bench.release("between", "1.0", requires=["alpha>=2"])
    lines: dict[str, Any] = {"one": "gamma\nold-side\n", "two": "linux-only\n\nnew_side\n"}
    error = bench.error("alpha\n", **lines)
    assert "node:one, requirements.txt line 2: old-side" in error.message
    assert "node:two, requirements.txt line 3: new_side" in error.message
    assert "line 1" not in error.message
    assert "between" in error.message
    assert versions(bench.lock("alpha\n", options=pasted(error), **lines))


def test_the_wish_of_the_core_comes_first_among_overrides(bench: Bench) -> None:
    error = bench.error("alpha<2\n", painter="alpha>=2\n")
    assert pasted(error)["overrides"] == ["alpha<2"]


def test_two_conflicts_are_reported_at_once_and_settled_together(bench: Bench) -> None:
    bench.release("beta", "1.0", "2.0")
    lines: dict[str, Any] = {"one": "alpha==1.0\nbeta==1.0\n", "two": "alpha==2.0\nbeta==2.0\n"}
    error = bench.error("gamma\n", options={"overrides": ["gamma==1.0"]}, **lines)
    for place in ("one, requirements.txt line 1", "two, requirements.txt line 2"):
        assert place in error.message
    overrides = pasted(error)["overrides"]
    assert overrides[0] == "gamma==1.0"
    assert len(overrides) == 3
    assert bench.lock("gamma\n", options=pasted(error), **lines)


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize("wrong", ["torch==99.9", "alpha==99.9", "no-such-thing==1.0"])
def test_an_override_that_no_index_has_is_to_blame_and_not_the_line_it_replaces(
    bench: Bench, wrong: str
) -> None:
    name = wrong.partition("==")[0]
    error = bench.error(
        "torch\nalpha\nno-such-thing\n", options={"overrides": ["gamma==1.0", wrong]}
    )
    assert error.message.startswith(f"options.overrides[1]: {wrong} ")
    assert "no index has" in error.message
    assert "requirements.txt" not in error.message
    assert name in error.message
    assert error.remedy == "Change or remove options.overrides[1] in the spec."


def test_a_constraint_of_the_spec_that_is_in_the_way_is_named_by_its_key(bench: Bench) -> None:
    error = bench.error("alpha>=2\n", options={"constraints": ["gamma<9", "alpha<2"]})
    assert "options.constraints[1]: alpha<2" in error.message
    assert "core, requirements.txt line 1: alpha>=2" in error.message


@pytest.mark.parametrize(
    ("line", "kind", "told"),
    [
        ("no-such-thing", UnavailableError, "needs a distribution that no index has"),
        ("alpha==9.0", UnavailableError, "asks for a version that no index has"),
        ("alpha>2", UnavailableError, "asks for a version that no index has"),
        ("withdrawn>1", UnavailableError, "withdrawn"),
        ("newer", OperationFailedError, "has no release for Python 3.11"),
        ("windows-only", OperationFailedError, "has no wheel for Python 3.11"),
    ],
)
def test_one_line_that_cannot_be_satisfied_is_named_with_what_is_the_matter(
    bench: Bench, line: str, kind: type[ComfyError], told: str
) -> None:
    bench.release("withdrawn", "1.0", "2.0")
    bench.release("newer", "1.0")
    bench.release("windows-only", "1.0", tag="cp311-cp311-win_amd64")
    bench.edit_page(
        "withdrawn", lambda page: page.replace('">withdrawn-2', '" data-yanked="x">withdrawn-2')
    )
    bench.edit_page(
        "newer", lambda page: page.replace('">newer', '" data-requires-python="&gt;=3.12">newer')
    )
    error = bench.error("alpha\n", painter=f"gamma\n{line}\n")
    assert isinstance(error, kind)
    assert f"node:painter, requirements.txt line 2: {line} " in error.message
    assert told in error.message
    assert bench.lock("alpha\n", painter=line, options=pasted(error))


def test_offline_everything_that_the_cache_does_not_know_is_named(bench: Bench) -> None:
    bench.fetch_context = replace(bench.fetch_context, offline=True)
    error = bench.error("alpha\n", painter="gamma\nalpha>=1\n")
    assert isinstance(error, UnavailableError)
    assert "core, requirements.txt line 1: alpha; " in error.message
    assert "node:painter, requirements.txt line 1: gamma; " in error.message
    assert "without --offline" in error.remedy


@pytest.mark.parametrize("line", ["alpha>=2", "zeta ; sys_platform == 'linux'"])
def test_offline_a_cache_with_only_a_part_is_no_conflict(bench: Bench, line: str) -> None:
    bench.release("zeta", "1.0")
    # This caches the page of alpha, and what 1.0 needs.
    bench.lock("alpha<2\n")
    bench.fetch_context = replace(bench.fetch_context, offline=True)
    error = bench.error(f"alpha\n{line}\n")
    assert isinstance(error, UnavailableError)
    assert error.message.startswith("the cache does not have what these need")
    assert f"core, requirements.txt line 2: {line}" in error.message
    assert error.remedy == "Resolve once without --offline."


def test_offline_a_conflict_of_what_the_cache_has_is_still_a_conflict(bench: Bench) -> None:
    bench.lock("alpha<2\n")
    bench.lock("alpha>=2\n")
    bench.fetch_context = replace(bench.fetch_context, offline=True)
    error = bench.error("alpha<2\n", painter="alpha>=2\n")
    assert isinstance(error, OperationFailedError)
    assert "have no common solution" in error.message


@pytest.mark.usefixtures("torch")
def test_a_torch_of_the_spec_that_no_index_has_is_named_by_its_key(bench: Bench) -> None:
    error = bench.error("torch\n", options={"torch": {"version": "2.99.0"}})
    assert isinstance(error, UnavailableError)
    assert "options.torch.version: torch==2.99.0" in error.message
    assert "Change options.torch.version" in error.remedy


@pytest.mark.usefixtures("torch")
def test_a_torch_that_the_spec_alone_asks_for_is_not_the_fault_of_a_node(bench: Bench) -> None:
    error = bench.error("alpha\n", painter="torch\n", options={"torch": {"version": "9.9.9"}})
    assert "options.torch.version: torch==9.9.9 asks for a version that no index has" in (
        error.message
    )
    assert error.remedy == "Change options.torch.version in the spec."


def test_another_python_is_offered_where_it_helps(bench: Bench) -> None:
    bench.release("newer", "1.0")
    bench.edit_page(
        "newer", lambda page: page.replace('">newer', '" data-requires-python="&gt;=3.12">newer')
    )
    error = bench.error("alpha\n", painter="newer\n")
    assert '"options": {"python": "3.12"}' in error.remedy
    assert "newer" in versions(bench.lock("newer\n", options={"python": "3.12"}))


def test_a_yanked_release_does_not_hide_that_another_python_is_needed(bench: Bench) -> None:
    bench.release("newer", "1.0", "1.1")
    needs = '" data-requires-python="&gt;=3.12">newer'
    bench.edit_page("newer", lambda page: page.replace('">newer', needs))
    bench.edit_page(
        "newer", lambda page: page.replace('">newer-1.1', '" data-yanked="x">newer-1.1')
    )
    error = bench.error("alpha\n", painter="newer\n")
    assert "has no release for Python 3.11" in error.message


def test_an_offer_takes_the_lines_of_all_nodes_into_account_and_compares_versions(
    bench: Bench,
) -> None:
    bench.release("delta", "1.9", "1.10", "1.11", "2.0", "3.0")
    lines: dict[str, Any] = {
        "one": "delta==1.9\n",
        "two": "delta>=1.9,<3\n",
        "three": "delta!=1.11\n",
    }
    error = bench.error("delta>=1.10\n", **lines)
    assert pasted(error)["overrides"] == ["delta!=1.11,<3,>=1.10"]
    assert "node:one, requirements.txt line 1: delta==1.9 gets delta==2.0" in error.remedy
    assert error.remedy.count(" gets ") == 1
    assert versions(bench.lock("delta>=1.10\n", options=pasted(error), **lines))["delta"] == "2.0"


def test_a_line_of_the_core_is_only_passed_over_with_a_word(bench: Bench) -> None:
    bench.release("old-side", "1.0", requires=["alpha<2"])
    error = bench.error("alpha>=2\n", one="old-side\n", two="alpha\n")
    assert pasted(error)["overrides"] == ["alpha>=2"]
    assert "old-side 1.0: alpha<2 gets alpha==2.0" in error.remedy
    only = bench.error("alpha>=3\n", one="alpha<2\n")
    assert "core, requirements.txt line 1: alpha>=3 gets alpha==1.0" in only.remedy


def test_a_line_of_the_core_is_not_given_up_to_get_around_a_second_conflict(bench: Bench) -> None:
    bench.release("hub", "0.19", "1.3")
    for version, hub in (("4.36", "<1"), ("5.0", ">=1")):
        bench.release("models", version, requires=[f"hub{hub}"])
    lines: dict[str, Any] = {"one": "models==4.36\nhub<1\n"}
    error = bench.error("models>=5\n", **lines)
    # Of a node's line and a distribution's need, the one with the newer release is kept.
    assert pasted(error)["overrides"] == ["models>=5", "hub>=1"]
    assert "node:one, requirements.txt line 2: hub<1 gets hub==1.3" in error.remedy
    assert "core" not in error.remedy
    assert bench.lock("models>=5\n", options=pasted(error), **lines)


def test_an_offer_keeps_extras(bench: Bench) -> None:
    for version in ("1.0", "2.0"):
        headers = ["Provides-Extra: pil", 'Requires-Dist: linux-only ; extra == "pil"']
        bench.release("codes", version, headers=headers)
    lines: dict[str, Any] = {"one": "codes[pil]<2\n", "two": "codes>=2\n"}
    error = bench.error("alpha\n", **lines)
    assert pasted(error)["overrides"] == ["codes[pil]>=2"]
    assert "linux-only" in versions(bench.lock("alpha\n", options=pasted(error), **lines))


def test_a_long_list_of_releases_does_not_use_up_the_tries(bench: Bench) -> None:
    bench.release("often", *(f"1.{number}" for number in range(30)))
    bench.release("old-side", "1.0", requires=["often<=1.1"])
    lines: dict[str, Any] = {"one": "old-side\noften>=1.2\n", "two": "often==2.0\n"}
    error = bench.error("alpha\n", **lines)
    assert versions(bench.lock("alpha\n", options=pasted(error), **lines))["often"] == "1.29"


@pytest.mark.parametrize("also", ["", "arrays[fast] ; platform_machine == 'x86_64'\n"])
def test_distributions_stay_in_releases_for_the_version_that_is_offered(
    bench: Bench, also: str
) -> None:
    for version in ("1.26", "2.2"):
        headers = ["Provides-Extra: fast", 'Requires-Dist: gamma ; extra == "fast"']
        bench.release("arrays", version, headers=headers)
    bench.release("remover", "2.0", requires=["arrays>=1"])
    bench.release("remover", "2.1", requires=["arrays>=2"])
    lines: dict[str, Any] = {
        "one": "arrays<2\nremover\n",
        "two": "arrays>=2\n",
        "three": "arrays<2\n",
        "four": also,
    }
    options: dict[str, Any] = {
        "constraints": ["gamma<9"],
        "platforms": ["linux-x86_64", "macos-arm64"],
    }
    error = bench.error("alpha\n", options=options, **lines)
    assert pasted(error) == {
        "overrides": ["arrays[fast]<2" if also else "arrays<2"],
        "constraints": ["gamma<9", "remover<=2.0"],
    }
    found = versions(bench.lock("alpha\n", options={**options, **pasted(error)}, **lines))
    assert (found["arrays"], found["remover"]) == ("1.26", "2.0")
    assert "remover 2" not in error.remedy


def test_everything_is_said_at_once_and_one_paste_settles_it(bench: Bench) -> None:
    bench.release("beta", "1.0", "2.0")
    lines: dict[str, Any] = {
        "one": "git+https://example.com/a/painting.git\nalpha==1.0\nno-such-thing\n",
        "two": "alpha>=2\nbeta<2\n",
        "three": "beta>=2\n",
    }
    error = bench.error("gamma\n", **lines)
    assert isinstance(error, InvalidInputError)
    for text in (
        "node:one, requirements.txt line 1: 'git+https://example.com/a/painting.git'",
        "node:one, requirements.txt line 2: alpha==1.0; node:two, requirements.txt line 1",
        "node:one, requirements.txt line 3: no-such-thing needs a distribution that no index has",
        "node:two, requirements.txt line 2: beta<2; node:three, requirements.txt line 1",
    ):
        assert text in error.message
    found = versions(bench.lock("gamma\n", options=pasted(error), **lines))
    assert found == {"gamma": "1.0", "alpha": "2.0", "beta": "2.0"}
    assert "node:one, requirements.txt line 3: no-such-thing is left out" in error.remedy


def test_a_name_that_no_index_has_may_be_a_typing_error(bench: Bench) -> None:
    error = bench.error("alpha\ngamma\n", painter="# palette\nalpah>=1\n", printer="zzz\n")
    assert (
        "alpah may be a typing error, probably of alpha: look at node:painter, "
        "requirements.txt line 2. zzz may be a typing error: look at node:printer, "
    ) in error.remedy
    assert pasted(error)["overrides"] == [
        "alpah ; python_version < '3'",
        "zzz ; python_version < '3'",
    ]


# Repositories


def test_a_repository_is_replaced_by_a_release_whose_metadata_names_it(bench: Bench) -> None:
    bench.release("ours", "1.0", headers=["Project-URL: Source, https://example.com/a/Ours/"])
    bench.release("forked", "1.0", headers=["Home-page: https://example.com/somebody/forked"])
    bench.release("silent", "1.0")
    text = "".join(
        f"git+https://example.com/a/{name}\n"
        for name in ("ours.git@v1#egg=ours", "forked", "silent")
    )
    error = bench.error("alpha\n", one=text)
    assert pasted(error)["overrides"] == [
        "ours",
        "forked ; python_version < '3'",
        "silent ; python_version < '3'",
    ]
    assert "#egg=ours' gets ours==1.0 from the index" in error.remedy
    assert (
        "/a/forked' is left out: nothing says that forked on the index is that project"
    ) in error.remedy
    assert "pip wheel" in error.remedy
    assert set(versions(bench.lock("alpha\n", options=pasted(error), one=text))) == {
        "alpha",
        "gamma",
        "ours",
    }


def test_the_project_of_a_release_is_looked_up_in_json_where_metadata_has_no_file(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.release("ours", "1.0")
    urls = {"Source": "https://example.com/a/ours"}
    info = {"info": {"home_page": None, "project_urls": urls}}

    def answer(request: Request) -> Answer | None:
        is_page = request.path == "/pypi/ours/json"
        return Answer(body=json.dumps(info).encode()) if is_page else None

    with serve(bench.index, answer) as url:
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
        error = bench.error("alpha\n", one="ours @ git+https://example.com/a/ours.git\n")
        assert pasted(error)["overrides"] == ["ours"]


def test_a_repository_that_others_want_as_a_release_is_not_left_out(bench: Bench) -> None:
    lines: dict[str, Any] = {
        "one": "git+https://example.com/a/gamma.git\nlinux-only @ git+https://example.com/b/lin\n",
        "two": "alpha\nlinux-only>=1\nnowhere @ file:///home/me/nowhere\n",
    }
    error = bench.error("alpha\n", **lines)
    assert isinstance(error, InvalidInputError)
    assert "node:one, requirements.txt line 1" in error.message
    assert "node:two, requirements.txt line 3" in error.message
    assert pasted(error)["overrides"] == [
        "gamma",
        "linux-only>=1",
        "nowhere ; python_version < '3'",
    ]
    lock = bench.lock("alpha\n", options=pasted(error), **lines)
    assert set(versions(lock)) == {"alpha", "gamma", "linux-only"}


def test_a_wheel_of_a_repository_can_stand_in_for_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "wheels").mkdir()
    make_wheel(tmp_path / "wheels", "painting", "0.1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    line = "git+https://example.com/a/painting.git\n"
    lock = bench.lock("alpha\n", options={"overrides": ["painting"]}, one=line)
    assert versions(lock)["painting"] == "0.1"


# Source distributions


def _publish_source(bench: Bench, name: str, version: str) -> Path:
    """Puts a source distribution into the index; the path is that of a file that a build makes."""
    built = bench.folder / f"{name}-was-built"
    folder = f"{name}-{version}"
    setup = (
        f"from pathlib import Path\nPath({str(built)!r}).touch()\n"
        f"from setuptools import setup\nsetup(name={name!r}, version={version!r})\n"
    )
    info = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with tarfile.open(bench.index / "files" / f"{folder}.tar.gz", "w:gz") as archive:
        for file, text in (("setup.py", setup), ("PKG-INFO", info)):
            member = tarfile.TarInfo(f"{folder}/{file}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    page = bench.index / "simple" / name / "index.html"
    page.parent.mkdir(exist_ok=True)
    link = f'<a href="../../files/{folder}.tar.gz">{folder}.tar.gz</a>'
    page.write_text(f"{page.read_text() if page.exists() else ''}{link}\n")
    return built


def test_nothing_is_built_to_make_an_offer(bench: Bench) -> None:
    bench.release("native", "1.0")
    built = _publish_source(bench, "native", "2.0")
    error = bench.error("alpha\n", one="native==1.0\n", two="native==2.0\n")
    assert pasted(error)["overrides"] == ["native==1.0"]
    assert not built.exists()


def test_what_would_have_to_be_built_is_said_where_nothing_else_helps(bench: Bench) -> None:
    built = _publish_source(bench, "native", "3.0")
    error = bench.error("alpha\nnative==1.0\n")
    assert "asks for a version that no index has" in error.message
    assert "native==3.0 would have to be built to learn what it needs" in error.remedy
    assert not built.exists()


def test_a_repository_whose_release_would_have_to_be_built_is_left_out(bench: Bench) -> None:
    built = _publish_source(bench, "native", "1.0")
    error = bench.error("alpha\n", one="git+https://example.com/a/native\n")
    assert pasted(error)["overrides"] == ["native ; python_version < '3'"]
    assert "native 1.0 on the index has no wheel for Python 3.11 on linux" in error.remedy
    assert not built.exists()
