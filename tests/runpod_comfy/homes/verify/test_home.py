"""A byte that changed after it was known to be right is found, named, and mended on request."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, UnavailableError
from comfy_home.manifest import load_manifest
from runpod_comfy.cache.archive_store import keep_archive
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import forget_root, record_root
from runpod_comfy.homes.home import Realization
from runpod_comfy.homes.run import realize
from runpod_comfy.homes.verify.home import restore_marker, take_away, verify
from runpod_comfy.homes.verify.trees import Verification
from runpod_comfy.lock.model import Distribution
from tests.locks import locked_file
from tests.package_index import make_wheel
from tests.runpod_comfy.homes.conftest import Version, imports, snapshot, times

# Each test makes an environment or a home, or starts a worker.
pytestmark = pytest.mark.slow


@dataclass(frozen=True, kw_only=True)
class Realized:
    """A home with a node and a model, and the job that made it."""

    version: Version
    job: Realization

    @property
    def home(self) -> Path:
        return self.job.home.root

    @property
    def packages(self) -> Path:
        return next(self.job.home.venv.glob("lib/python*/site-packages"))

    def environment_entry(self) -> Path:
        (entry,) = self.version.cache.environments.iterdir()
        return entry


@pytest.fixture
def realized(version: Version) -> Realized:
    version.models = [version.model("a.bin", "weights")]
    version.write("core/nodes.py", "VALUE = 1\n")
    version.write("core/web/index.html", "<html></html>\n")
    version.write("core/custom_nodes/brought_along.py", "NODE_CLASS_MAPPINGS = {}\n")
    # The layer `models` has a file of its own for this one, and people own the other.
    version.write("core/extra_model_paths.yaml", "theirs\n")
    version.write("core/input/example.txt", "example\n")
    wheel = version.wheels_dir / version.wheels[0].files[0].name
    keep_archive([wheel.read_bytes()], version.cache, where="a bundle", expected_sha256=None)
    job = version.job()
    realize(job)
    return Realized(version=version, job=job)


def _spoil(path: Path) -> None:
    """Changes one byte in place, as a bad disk or an editor that keeps the inode does."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.write(content)


def _tree_in_cache(realized: Realized, name: str) -> Path:
    return next(path for path in realized.version.cache.trees.glob(f"{name}@*") if path.is_dir())


def _bytecode(folder: Path, name: str) -> Path:
    return next((folder / "__pycache__").glob(f"{name}.*.pyc"))


def _places(found: Verification) -> set[Path]:
    return {fault.path for fault in found.faults}


PLACES: dict[str, Callable[[Realized], Path]] = {
    "a package's file": lambda it: it.packages / "alpha.py",
    "a package's bytecode": lambda it: _bytecode(it.packages, "alpha"),
    "a package's record": lambda it: it.packages / "alpha-1.0.dist-info" / "RECORD",
    "the environment's settings": lambda it: it.job.home.venv / "pyvenv.cfg",
    "the environment in the cache": lambda it: (
        it.environment_entry() / it.packages.relative_to(it.job.home.venv) / "torchlike.py"
    ),
    "the core": lambda it: it.job.home.comfyui / "main.py",
    "a file of the core that is no code": lambda it: it.job.home.comfyui / "web/index.html",
    "the core's bytecode": lambda it: _bytecode(it.job.home.comfyui, "nodes"),
    "a node of the core's own": lambda it: it.job.home.custom_nodes / "brought_along.py",
    "a node": lambda it: it.job.home.custom_nodes / "painter" / "__init__.py",
    "a node's bytecode": lambda it: _bytecode(it.job.home.custom_nodes / "painter", "__init__"),
    "a tree in the cache": lambda it: _tree_in_cache(it, "core") / "main.py",
    "a compiled tree": lambda it: _bytecode(
        next(path for path in it.version.cache.compiled.iterdir() if (path / "nodes.py").is_file()),
        "nodes",
    ),
    "an archive in the cache": lambda it: next(it.version.cache.archives.iterdir()),
    "a model": lambda it: (it.job.home.models / "loras/a.bin").resolve(),
}


def test_a_whole_home_is_verified_and_nothing_changes(realized: Realized) -> None:
    before = times(realized.home), times(realized.version.cache.root)
    found = verify(realized.job)
    assert found.faults == []
    assert found.notes == []
    assert found.checked_files > 20
    assert (times(realized.home), times(realized.version.cache.root)) == before


@pytest.mark.parametrize("what", PLACES)
def test_one_wrong_byte_is_found_and_fixed(realized: Realized, what: str) -> None:
    undisturbed = snapshot(realized.home, leave_out=[".comfy_env", ".comfy_lock"])
    path = PLACES[what](realized)
    _spoil(path)
    found = verify(realized.job)
    names = {fault.path.name for fault in found.faults}
    trees = {entry.name for entry in realized.version.cache.trees.iterdir()}
    # A tree is reported as a whole; a file of the environment has two names.
    assert path.name in names or names & (trees | {"comfy-files.json"}), found.faults
    assert all(fault.expected != fault.found for fault in found.faults)
    take_away(found, realized.job)
    realize(realized.job)
    assert verify(realized.job).faults == []
    assert snapshot(realized.home, leave_out=[".comfy_env", ".comfy_lock"]) == undisturbed


def test_several_differences_are_reported_at_once(realized: Realized) -> None:
    places = [PLACES[name](realized) for name in ("a package's file", "a node", "a model")]
    for place in places:
        _spoil(place)
    (realized.job.home.comfyui / "nodes.py").unlink()
    found = verify(realized.job)
    assert {*places, realized.job.home.comfyui / "nodes.py"} <= _places(found)
    assert "nothing" in {fault.found for fault in found.faults}


def test_files_that_nodes_wrote_are_noted_and_do_not_fail_it(realized: Realized) -> None:
    written = realized.job.home.custom_nodes / "painter" / "settings.json"
    written.write_text("{}")
    (realized.job.home.comfyui / "input" / "example.txt").unlink()
    (realized.home / "output" / "picture.png").write_bytes(b"png")
    (realized.job.home.comfyui / "user").mkdir(exist_ok=True)
    (realized.job.home.comfyui / "user" / "script.py").write_text("mine")
    found = verify(realized.job)
    assert found.faults == []
    assert found.notes == [f"{written} was added"]


@pytest.mark.parametrize(
    "place",
    [
        "ComfyUI/json.py",
        "ComfyUI/custom_nodes/painter/helper.py",
        "ComfyUI/custom_nodes/stranger.py",
        "ComfyUI/custom_nodes/stranger/__init__.py",
        "ComfyUI/nodes.pyc",
    ],
)
def test_an_added_file_that_would_be_imported_is_a_difference(
    realized: Realized, place: str
) -> None:
    path = realized.home / place
    path.parent.mkdir(exist_ok=True)
    path.write_text("import os\n")
    found = verify(realized.job)
    assert _places(found) & {path, path.parent}
    take_away(found, realized.job)
    realize(realized.job)
    # A whole node is a user's work; it is only reported.
    is_a_node = "stranger" in place
    assert path.exists() == is_a_node
    assert len(verify(realized.job).faults) == is_a_node


def test_a_package_that_was_installed_by_hand_is_a_difference(realized: Realized) -> None:
    shutil.copy(realized.packages / "alpha.py", realized.packages / "extra.py")
    info = realized.packages / "extra-1.0.dist-info"
    info.mkdir()
    (info / "RECORD").write_text("extra.py,,\n")
    found = verify(realized.job)
    assert {"no extra"} <= {fault.expected for fault in found.faults}
    assert realized.packages / "extra.py" in _places(found)
    take_away(found, realized.job)
    realize(realized.job)
    assert verify(realized.job).faults == []
    assert not imports(realized.home, "extra")


def test_bytecode_of_another_source_is_found_though_its_bytes_are_whole(
    realized: Realized,
) -> None:
    """Bytecode is not compared with its source when it runs, so this would never show."""
    nodes = _bytecode(realized.job.home.comfyui, "nodes")
    shutil.copy(_bytecode(realized.job.home.comfyui, "main"), nodes)
    assert _places(verify(realized.job)) == {nodes}


def test_a_node_without_its_tree_in_the_cache_is_compared_as_a_whole(realized: Realized) -> None:
    shutil.rmtree(_tree_in_cache(realized, "painter"))
    assert verify(realized.job).faults == []
    _spoil(realized.job.home.custom_nodes / "painter" / "__init__.py")
    found = verify(realized.job)
    assert realized.job.home.custom_nodes / "painter" in _places(found)


def test_a_home_of_an_older_lock_is_a_difference(realized: Realized) -> None:
    realized.version.wheels = [realized.version.wheel("beta", "1.0")]
    newer = realized.version.job()
    found = verify(newer)
    assert newer.lock.digest in {fault.expected for fault in found.faults}
    take_away(found, newer)
    realize(newer)
    assert verify(newer).faults == []


def _lose_marker(home: Path, damage: str | None) -> None:
    marker = home / ".comfy_env"
    marker.unlink()
    if damage is not None:
        marker.write_text(damage)


@pytest.mark.parametrize("damage", [None, "", "{", "[]"])
def test_a_lost_marker_is_made_again_and_the_users_files_stay(
    realized: Realized, damage: str | None
) -> None:
    home = realized.home
    before = load_manifest(home)
    own = [home / "output/picture.png", realized.job.home.custom_nodes / "byhand/__init__.py"]
    for path in own:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# mine\n")
    _spoil(realized.job.home.comfyui / "main.py")
    _lose_marker(home, damage)
    for read in (verify, realize):
        with pytest.raises(InvalidInputError) as caught:
            read(realized.job)
        command = f"runpod-comfy realize small --target {home} --repair"
        assert caught.value.remedy == f"Make it again: {command}"
    assert restore_marker(realized.job)
    take_away(verify(realized.job), realized.job)
    realize(realized.job)
    assert _places(verify(realized.job)) == {own[1].parent}
    assert [path.read_text() for path in own] == ["# mine\n"] * 2
    after = load_manifest(home)
    assert before is not None
    assert after is not None
    assert (after.layers, after.models_dir) == (before.layers, before.models_dir)
    assert after.check is not None
    assert not restore_marker(realized.job)


@pytest.mark.parametrize("damage", [None, "{"])
@pytest.mark.parametrize("unknown", ["not recorded", "another version", "another core"])
def test_without_a_marker_what_may_be_the_users_is_named_and_left_alone(
    realized: Realized, unknown: str, damage: str | None
) -> None:
    job = realized.job
    _lose_marker(realized.home, damage)
    if unknown == "not recorded":
        forget_root(job.cache, realized.home)
    if unknown == "another version":
        lock_bytes = realized.version.lock("other").to_bytes()
        record_root(job.cache, kind="home", path=realized.home, lock_bytes=lock_bytes)
    if unknown == "another core":
        job.home.core_files.unlink()
    before = times(realized.home)
    assert not restore_marker(job)
    with pytest.raises(InvalidInputError) as caught:
        realize(job)
    assert times(realized.home) == before
    in_the_way = [job.home.comfyui, job.home.venv]
    in_the_way += [job.home.marker] if damage is not None else []
    assert caught.value.remedy.endswith(f": {', '.join(map(str, in_the_way))}")
    for path in in_the_way:
        path.rename(realized.version.folder / f"away{path.name}")
    realize(job)
    assert verify(job).faults == []


def _record_in_cache(realized: Realized) -> Path:
    (entry,) = realized.version.cache.checks.iterdir()
    return entry / "object_info.json"


@pytest.mark.parametrize("damage", ["[1", "[1]", '{"KSampler": 5}', None])
@pytest.mark.parametrize("where", ["home", "cache", "both"])
def test_a_broken_record_of_node_classes_is_found_and_made_again(
    realized: Realized, where: str, damage: str | None
) -> None:
    both = {"home": realized.job.home.object_info, "cache": _record_in_cache(realized)}
    undamaged = [path.read_bytes() for path in both.values()]
    spoiled = {path for name, path in both.items() if where in (name, "both")}
    for path in spoiled:
        path.unlink()
        if damage is not None:
            path.write_text(damage)
    found = verify(realized.job)
    assert _places(found) == spoiled
    take_away(found, realized.job)
    realize(realized.job)
    assert verify(realized.job).faults == []
    if where != "cache":
        assert [path.read_bytes() for path in both.values()] == undamaged


def test_nothing_realized_cannot_be_verified(version: Version) -> None:
    with pytest.raises(UnavailableError, match="nothing is realized"):
        verify(version.job())
    assert not (version.home).exists()


def test_taking_away_leaves_what_is_right(realized: Realized) -> None:
    _spoil(realized.job.home.custom_nodes / "painter" / "__init__.py")
    take_away(verify(realized.job), realized.job)
    manifest = load_manifest(realized.home)
    assert manifest is not None
    assert {name for name, key in manifest.layers.items() if not key} == {"node:painter"}
    outcomes = {each.name: each.outcome for each in realize(realized.job).layers}
    assert outcomes["node:painter"] == "built"
    assert outcomes["core"] == outcomes["wheels"] == "kept"


def test_a_core_that_is_made_again_gets_its_models_file_again(realized: Realized) -> None:
    paths = realized.job.home.comfyui / "extra_model_paths.yaml"
    ours = paths.read_bytes()
    (realized.job.home.comfyui / "main.py").unlink()
    realize(realized.job)
    assert paths.read_bytes() == ours != b"theirs\n"


def test_the_findings_are_a_document(realized: Realized) -> None:
    _spoil(realized.job.home.comfyui / "main.py")
    document = json.loads(json.dumps(verify(realized.job).document()))
    assert document["verified"] is False
    assert document["differences"][0]["path"].endswith("main.py")


_INSTALL = """
import pathlib
import alpha
pathlib.Path("weights.txt").write_text("weights")
pathlib.Path("../../main.py").write_text("print('patched')")
pathlib.Path(alpha.__file__).open("a").write("PATCHED = 1\\n")
pathlib.Path(alpha.__file__).with_name("made_by_script.py").write_text("MADE = 1")
"""


@pytest.mark.parametrize(
    "place",
    [
        "ComfyUI/custom_nodes/painter/weights.txt",
        "ComfyUI/main.py",
        ".venv/lib/python*/site-packages/alpha.py",
        ".venv/lib/python*/site-packages/made_by_script.py",
    ],
)
def test_what_an_install_script_changed_counts_as_it_left_it(version: Version, place: str) -> None:
    version.write("painter/install.py", _INSTALL)
    version.changes = {"run_install_scripts": ["painter"]}
    job = version.job()
    realize(job)
    assert verify(job).faults == []
    (path,) = job.home.root.glob(place)
    _spoil(path)
    found = verify(job)
    assert path in _places(found)
    take_away(found, job)
    realize(job)
    assert verify(job).faults == []


@pytest.mark.parametrize("content", ["WEIGHTS", "of another size"])
def test_a_model_file_of_a_users_is_reported_and_nothing_is_repaired_for_it(
    realized: Realized, content: str
) -> None:
    place = realized.job.home.models / "loras/a.bin"
    place.unlink()
    place.write_text(content)
    before = (realized.home / ".comfy_env").read_bytes()
    found = verify(realized.job)
    assert _places(found) == {place} == found.own_models
    assert found.repairable == ()
    take_away(found, realized.job)
    assert (realized.home / ".comfy_env").read_bytes() == before
    assert place.read_text() == content


def test_a_link_in_the_home_that_leads_to_another_file_is_repaired(realized: Realized) -> None:
    place = realized.job.home.models / "loras/a.bin"
    place.unlink()
    place.symlink_to(realized.version.write("other.bin", "WEIGHTS"))
    found = verify(realized.job)
    assert found.own_models == set()
    assert len(found.repairable) == 1
    take_away(found, realized.job)
    realize(realized.job)
    assert verify(realized.job).faults == []


def test_a_home_whose_packages_share_files_is_as_it_should_be(version: Version) -> None:
    """Each time, the same one of the files that differ is there."""
    for name in ("alpha", "bravo", "charlie"):
        more = {"tests/__init__.py": "", "tests/check.py": f"WHO = {name!r}\n" * 500}
        make_wheel(version.wheels_dir, name, "2.0", more=more)
    wheels = sorted(version.wheels_dir.glob("*-2.0-*.whl"))
    version.wheels = [
        Distribution(name=wheel.name.split("-")[0], version="2.0", files=[locked_file(wheel)])
        for wheel in wheels
    ]
    trees = []
    for number in range(3):
        said: list[str] = []
        version.cache = Cache(root=version.folder / f"cache-{number}")
        job = version.job(version.folder / f"home-{number}", say=said.append)
        realize(job)
        assert [line for line in said if line.startswith("Note: ")] == [
            "Note: alpha, bravo and charlie all install tests/check.py; that of charlie is kept"
        ]
        assert verify(job).faults == []
        (packages,) = job.home.venv.glob("lib/python*/site-packages")
        trees.append(snapshot(packages))
    heard: list[str] = []
    again = version.job(version.folder / "home-from-the-cache", say=heard.append)
    realize(again)
    assert [line for line in heard if line.startswith("Note: ")] == [
        line for line in said if line.startswith("Note: ")
    ]
    assert trees[0]["tests/check.py"][2].startswith(b"WHO = 'charlie'")
    assert trees[1:] == trees[:1] * 2
    place = packages / "tests/check.py"
    place.unlink()
    place.write_text("WHO = 'somebody'\n")
    (fault,) = verify(job).faults
    assert Path(fault.path) == place
    take_away(verify(job), job)
    realize(job)
    assert verify(job).faults == []


@pytest.mark.parametrize("instead", ["a folder", "nothing"])
def test_a_core_whose_models_are_not_the_homes_is_repaired(
    realized: Realized, instead: str
) -> None:
    link = realized.home / "ComfyUI/models"
    assert link.samefile(realized.home / "models")
    link.unlink()
    if instead == "a folder":
        (link / "LLM").mkdir(parents=True)
        (link / "LLM/own.gguf").write_text("mine")
    found = verify(realized.job)
    assert [fault.path for fault in found.faults] == [link]
    take_away(found, realized.job)
    realize(realized.job)
    assert link.samefile(realized.home / "models")
    if instead == "a folder":
        assert (realized.home / "models/LLM/own.gguf").read_text() == "mine"


def test_a_file_that_the_core_ships_among_its_models_is_compared(version: Version) -> None:
    version.write("core/models/configs/v1.yaml", "a: 1\n")
    version.write("core/models/loras/put_loras_here", "")
    job = version.job()
    realize(job)
    place = version.folder / "home/ComfyUI/core_models/configs/v1.yaml"
    assert not verify(job).faults
    place.write_text("a: 2\n")
    assert [fault.path for fault in verify(job).faults] == [place]
