"""`resolve` and `diff` in a world that moves: real git repositories, a real index, real files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from runpod_comfy.cli.app import run_command_line
from tests.http_server import serve
from tests.package_index import make_wheel, write_index
from tests.runpod_comfy.cli.moving_world import World

# Resolves a version again in each test.
pytestmark = pytest.mark.slow


def _check(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = run_command_line(["resolve", "small", "--check", "--json", *flags])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, document


def _moved(document: dict[str, Any]) -> set[str]:
    return {finding["name"] for finding in document["moved"]}


def test_check_finds_nothing_where_nothing_moved(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = _check(capsys)
    assert code == 0
    assert document["moved"] == document["unanswered"] == document["not_looked_at"] == []
    # The spec, four trees, a model and two distributions.
    assert document["looked_at"] == 8


def test_check_names_everything_that_moved_and_changes_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = world.core.commit("Newer")
    shutil.rmtree(world.painter.path)
    world.core.git("tag", "--delete", "v1")
    (world.folder / "versions" / "sketch" / "__init__.py").write_text("# changed\n")
    (world.folder / "versions" / "m.gguf").write_text("other weights")
    (world.index / "files" / "alpha-1.0-py3-none-any.whl").unlink()
    world.release("alpha", "2.0")
    make_wheel(world.index / "files", "beta", "1.0", source="# other bytes\n")
    write_index(world.index)
    spec, lock = world.spec.read_bytes(), world.lock_path.read_bytes()
    code, document = _check(capsys)
    assert code == 4
    assert _moved(document) == {
        "core",
        "painter",
        "twin",
        "sketch",
        "m.gguf",
        "alpha",
        "beta",
    }
    found = {finding["name"]: finding for finding in document["moved"]}
    assert found["core"]["after"] == newer
    assert "--upgrade core" in found["core"]["remedy"]
    assert "gone" in found["painter"]["message"]
    assert "no longer has 'v1'" in found["twin"]["message"]
    assert "newest there: 2.0" in found["alpha"]["message"]
    assert "other bytes" in found["beta"]["message"]
    assert all(finding["remedy"] for finding in document["moved"])
    assert (world.spec.read_bytes(), world.lock_path.read_bytes()) == (spec, lock)


def test_check_tells_of_a_spec_that_was_changed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.spec.write_text(world.spec.read_text().replace('"models"', '"env": {"A": "b"}, "models"'))
    code, document = _check(capsys)
    assert (code, _moved(document)) == (4, {"small.json"})


def test_check_tells_of_withdrawn_releases(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    page = world.index / "simple" / "alpha" / "index.html"
    page.write_text(page.read_text().replace("<a ", '<a data-yanked="broken" '))
    code, document = _check(capsys)
    assert (code, _moved(document)) == (4, {"alpha"})
    assert "yanked by its authors: broken" in document["moved"][0]["message"]


def test_check_tells_of_a_commit_that_a_force_push_removed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.painter.git("commit", "--quiet", "--amend", "--message", "Rewritten")
    world.painter.git("reflog", "expire", "--expire=now", "--all")
    world.painter.git("gc", "--quiet", "--prune=now")
    code, document = _check(capsys)
    assert (code, _moved(document)) == (4, {"painter"})
    assert "gone from there" in document["moved"][0]["message"]


def test_an_index_that_does_not_answer_is_not_drift(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    code, document = _check(capsys)
    assert code == 3
    assert document["moved"] == []
    assert {finding["name"] for finding in document["unanswered"]} == {"alpha", "beta"}


def test_what_moved_counts_more_than_what_did_not_answer(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    world.core.commit("Newer")
    code, document = _check(capsys)
    assert code == 4
    assert document["unanswered"]


def test_offline_check_looks_at_what_is_here_and_says_what_it_left_out(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.core.commit("Newer")
    (world.folder / "versions" / "m.gguf").unlink()
    code, document = _check(capsys, "--offline")
    assert (code, _moved(document)) == (4, {"m.gguf"})
    assert document["not_looked_at"] == ["core", "painter", "twin", "2 Python distributions"]


def test_check_without_a_lock_says_how_to_make_one(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.lock_path.unlink()
    shutil.rmtree(world.folder.parent / "cache" / "resolved")
    code, document = _check(capsys)
    assert code == 3
    assert "resolve small" in document["remedy"]


def test_pins_are_kept_though_everything_moved_and_no_index_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.lock_path.read_bytes()
    world.core.commit("Newer")
    shutil.rmtree(world.painter.path)
    world.release("alpha", "2.0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    assert run_command_line(["resolve", "small"]) == 0
    assert world.lock_path.read_bytes() == before
    assert run_command_line(["resolve", "small", "--offline"]) == 0
    assert world.lock_path.read_bytes() == before


def test_a_change_that_decides_no_distribution_asks_no_index(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.release("alpha", "2.0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    document = json.loads(world.spec.read_text()) | {"env": {"A": "b"}}
    world.spec.write_text(json.dumps(document))
    assert run_command_line(["resolve", "small"]) == 0
    assert world.lock["env"] == {"A": "b"}
    assert world.versions == {"alpha": "1.0", "beta": "1.0"}


def test_a_change_that_decides_distributions_keeps_the_others(world: World) -> None:
    world.release("alpha", "2.0")
    world.release("beta", "2.0")
    options = {"constraints": ["beta>1"]}
    document = json.loads(world.spec.read_text()) | {"options": options}
    world.spec.write_text(json.dumps(document))
    assert run_command_line(["resolve", "small"]) == 0
    assert world.versions == {"alpha": "1.0", "beta": "2.0"}


def test_a_model_whose_pin_is_known_need_not_be_here(world: World) -> None:
    before = world.lock_path.read_bytes()
    (world.folder / "versions" / "m.gguf").unlink()
    assert run_command_line(["resolve", "small", "--offline"]) == 0
    assert world.lock_path.read_bytes() == before


def test_another_model_file_is_taken_only_when_asked_for(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    before = world.lock_path.read_bytes()
    (world.folder / "versions" / "m.gguf").write_text("altered")
    assert run_command_line(["resolve", "small"]) == 4
    assert "--upgrade m.gguf" in capsys.readouterr().err
    assert world.lock_path.read_bytes() == before
    assert run_command_line(["resolve", "small", "--upgrade", "m.gguf"]) == 0
    assert "~ vae/m.gguf sha256:" in capsys.readouterr().err


def test_offline_everything_that_is_missing_is_named_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(world.folder / "empty"))
    world.lock_path.unlink()
    (world.folder / "versions" / "m.gguf").unlink()
    assert run_command_line(["resolve", "small", "--offline"]) == 3
    told = capsys.readouterr().err
    for missing in ("Core", "Painter", "m.gguf"):
        assert missing in told


def test_offline_distributions_that_no_cache_knows_are_named(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(world.folder.parent / "cache" / "uv")
    document = json.loads(world.spec.read_text()) | {"options": {"constraints": ["alpha>0"]}}
    world.spec.write_text(json.dumps(document))
    assert run_command_line(["resolve", "small", "--offline"]) == 3
    told = capsys.readouterr().err
    assert "alpha" in told
    assert "→ Run the command once without --offline." in told


def test_upgrading_the_core_moves_its_commit_in_the_spec_and_nothing_else(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    before = world.spec.read_text()
    old = world.lock["comfy"]["commit"]
    world.core.write("new.py", "")
    new = world.core.commit("Newer")
    world.painter.commit("Newer")
    world.release("alpha", "2.0")
    assert run_command_line(["resolve", "small", "--upgrade", "core"]) == 0
    # The twin names the same commit, at a tag.
    assert world.spec.read_text() == before.replace(old, new, 1)
    assert world.lock["comfy"]["commit"] == new
    assert world.versions == {"alpha": "1.0", "beta": "1.0"}
    told = capsys.readouterr().err
    assert f"core {old} → {new}" in told
    assert f"~ core commit: {old[:12]} → {new[:12]}" in told
    assert run_command_line(["resolve", "small", "--check"]) == 4
    assert "painter" in capsys.readouterr().out


def test_a_branch_without_a_commit_in_the_spec_is_pinned_by_the_lock_alone(world: World) -> None:
    document = json.loads(world.spec.read_text())
    del document["custom_nodes"][0]["commit"]
    world.spec.write_text(json.dumps(document))
    spec, old = world.spec.read_bytes(), world.lock["custom_nodes"][0]["commit"]
    new = world.painter.commit("Newer")
    for flags, commit in (([], old), (["--upgrade", "core"], old), (["--upgrade", "painter"], new)):
        assert run_command_line(["resolve", "small", *flags]) == 0
        assert world.lock["custom_nodes"][0]["commit"] == commit
    assert world.spec.read_bytes() == spec


def test_a_named_part_that_cannot_move_is_said_to_stay(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.core.commit("Newer")
    assert run_command_line(["resolve", "small", "--upgrade", "twin"]) == 0
    assert "twin stays at v1, as the spec says" in capsys.readouterr().err


def test_upgrading_a_distribution_leaves_the_others(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.core.commit("Newer")
    world.release("alpha", "2.0")
    world.release("beta", "2.0")
    spec = world.spec.read_bytes()
    assert run_command_line(["resolve", "small", "--upgrade", "Alpha"]) == 0
    assert world.versions == {"alpha": "2.0", "beta": "1.0"}
    assert world.spec.read_bytes() == spec
    assert "~ alpha 1.0 → 2.0" in capsys.readouterr().err


def test_a_bare_upgrade_moves_everything_but_tags(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    core = world.core.commit("Newer")
    painter = world.painter.commit("Newer")
    world.core.git("tag", "--force", "v1")
    world.release("beta", "2.0")
    tagged = world.lock["custom_nodes"][1]["commit"]
    assert run_command_line(["resolve", "small", "--upgrade"]) == 0
    assert world.lock["comfy"]["commit"] == core
    commits = [node["commit"] for node in world.lock["custom_nodes"][:2]]
    assert commits == [painter, tagged]
    assert world.versions["beta"] == "2.0"
    assert f"the tag 'v1' of {world.core.url} is now {core}" in capsys.readouterr().err
    assert run_command_line(["resolve", "small", "--upgrade"]) == 0
    assert "Nothing newer was found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "told"),
    [("paintr", "Similar names: painter"), ("small", "runpod-comfy resolve small --upgrade")],
)
def test_an_unknown_name_is_refused_with_what_was_meant(
    world: World, capsys: pytest.CaptureFixture[str], name: str, told: str
) -> None:
    assert run_command_line(["resolve", "--version-id", "small", "--upgrade", name]) == 2
    assert told in capsys.readouterr().err


def test_upgrade_and_offline_exclude_each_other(world: World) -> None:
    assert run_command_line(["resolve", "small", "--offline", "--upgrade"]) == 2


_CONFLICT = "{\n<<<<<<< HEAD\n=======\n>>>>>>> theirs\n}\n"


@pytest.mark.parametrize("content", [_CONFLICT, '{"lock_', "[]", '{"lock_version": 2}'])
@pytest.mark.parametrize("flags", [[], ["--upgrade", "alpha"], ["--offline"]])
def test_a_broken_lock_is_refused_and_stays(
    world: World, capsys: pytest.CaptureFixture[str], content: str, flags: list[str]
) -> None:
    world.lock_path.write_text(content)
    copy = world.folder.parent / "cache" / "resolved" / "small.lock.json"
    copied, spec = copy.read_bytes(), world.spec.read_bytes()
    capsys.readouterr()
    assert run_command_line(["resolve", "small", *flags]) == 2
    told = capsys.readouterr().err
    assert str(world.lock_path) in told
    assert "or delete it" in told
    assert "runpod-comfy resolve small --upgrade\n" in told
    assert world.lock_path.read_text() == content
    assert (copy.read_bytes(), world.spec.read_bytes()) == (copied, spec)


def test_the_next_steps_for_a_broken_lock_work(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = world.lock_path.read_bytes()
    world.lock_path.unlink()
    assert run_command_line(["resolve", "small"]) == 0
    assert world.lock_path.read_bytes() == whole
    world.release("alpha", "2.0")
    world.lock_path.write_text("[]")
    capsys.readouterr()
    assert run_command_line(["resolve", "small", "--upgrade"]) == 0
    (sentence,) = (line for line in capsys.readouterr().err.splitlines() if "replaces" in line)
    assert "is not a JSON object; a new lock replaces it" in sentence
    assert world.versions == {"alpha": "2.0", "beta": "1.0"}
    assert run_command_line(["resolve", "small", "--upgrade"]) == 0
    assert "replaces" not in capsys.readouterr().err


def test_a_lock_of_a_newer_program_is_replaced_only_when_asked_for(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = json.dumps(world.lock | {"lock_version": 3})
    world.lock_path.write_text(newer)
    capsys.readouterr()
    assert run_command_line(["resolve", "small"]) == 2
    assert "Use a newer version of this program" in capsys.readouterr().err
    assert world.lock_path.read_text() == newer
    assert run_command_line(["resolve", "small", "--upgrade"]) == 0
    assert "has lock_version 3; this program reads 1 and 2; a new lock replaces it" in (
        capsys.readouterr().err
    )
    assert world.lock["lock_version"] == 2


def test_two_checkouts_with_other_homes_and_mirrors_give_the_same_bytes(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "elsewhere" / "checkout"
    shutil.copytree(world.folder / "versions", other / "versions")
    shutil.copytree(world.index, tmp_path / "mirror")
    monkeypatch.chdir(other)
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "other-cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "other-home"))
    with serve(tmp_path / "mirror") as url:
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple/")
        assert run_command_line(["resolve", "small"]) == 0
    made = other / "lockfiles" / "comfy-small.lock.json"
    assert made.read_bytes() == world.lock_path.read_bytes()


def _diff(capsys: pytest.CaptureFixture[str], before: str, after: str) -> tuple[int, Any]:
    capsys.readouterr()
    code = run_command_line(["diff", before, after, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_diff_of_a_version_with_itself_is_empty(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = _diff(capsys, "small", str(world.lock_path))
    assert code == 0
    assert document["form"] == "lock"
    assert document["equal"]
    assert run_command_line(["diff", "small", "small"]) == 0
    assert "no differences" in capsys.readouterr().out


def test_diff_of_two_locks_shows_every_part(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    before = world.folder / "before.json"
    before.write_bytes(world.lock_path.read_bytes())
    world.core.write("requirements.txt", "alpha\n")
    world.core.commit("Newer")
    world.release("alpha", "2.0")
    document = json.loads(world.spec.read_text()) | {"env": {"A": "b"}}
    del document["custom_nodes"][1:]
    world.spec.write_text(json.dumps(document))
    (world.folder / "versions" / "m.gguf").write_text("altered")
    assert run_command_line(["resolve", "small", "--upgrade"]) == 0
    code, document = _diff(capsys, str(before), "small")
    assert code == 4
    changes = {
        (change["part"], change["name"], change["key"]): change for change in document["changes"]
    }
    assert ("core", "core", "commit") in changes
    assert ("models", "vae/m.gguf", "sha256") in changes
    assert changes["nodes", "sketch", ""]["after"] is None
    assert changes["python", "alpha", "version"]["after"] == "2.0"
    assert changes["python", "beta", ""]["after"] is None
    assert changes["environment", "env.A", ""]["after"] == {"value": "b"}
    run_command_line(["diff", str(before), "small"])
    text = capsys.readouterr().out
    for line in ("  ~ alpha 1.0 → 2.0", "  - beta 1.0", "  + env.A b", "  - sketch"):
        assert line in text


def test_versions_without_a_lock_are_compared_by_their_specs(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = json.loads(world.spec.read_text()) | {"version_id": "other", "env": {"A": "b"}}
    (world.spec.parent / "other.json").write_text(json.dumps(spec))
    code, document = _diff(capsys, "small", "other")
    assert (code, document["form"]) == (4, "spec")
    assert [change["name"] for change in document["changes"]] == ["env.A"]


def test_a_lock_is_not_compared_with_a_spec(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["diff", str(world.lock_path), str(world.spec)]) == 2
    assert "is a spec" in capsys.readouterr().err
