from __future__ import annotations

import dataclasses
import py_compile
from pathlib import Path

import pytest

from tests.images.conftest import EPOCH, Bench

CORE = {
    "tree/main.py": "print('one')\n",
    "tree/comfy/engine.py": "A = 1\n",
    "tree/models/checkpoints/put_checkpoints_here": "",
    "tree/models/configs/v1.yaml": "a: 1\n",
    "tree/custom_nodes/example.py": "EXAMPLE = 1\n",
}


# The file that keeps an empty folder in git is not needed.
MADE = {"main.py", "comfy/engine.py", "core_models/configs/v1.yaml", "custom_nodes/example.py"}


def _files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def _bytecode(source: Path) -> Path:
    (found,) = (source.parent / "__pycache__").glob(f"{source.stem}.*.pyc")
    return found


def test_the_core_is_in_its_folder_as_it_is_in_the_tree(bench: Bench) -> None:
    bench.give(CORE)
    bench.run("core")
    assert _files(bench.core) == MADE
    assert (bench.core / "main.py").read_text() == "print('one')\n"


def test_everything_gets_the_time_of_the_layer(bench: Bench) -> None:
    bench.give(CORE)
    bench.run("core")
    times = {int(path.lstat().st_mtime) for path in (bench.core, *bench.core.rglob("*"))}
    assert times == {EPOCH}


def test_bytecode_depends_on_neither_time_nor_place(bench: Bench, tmp_path: Path) -> None:
    bench.give(CORE)
    bench.run("core")
    first = _bytecode(bench.core / "comfy" / "engine.py").read_bytes()
    # PEP 552: the flags word is 1 for hash-based bytecode that is not checked against its source.
    assert int.from_bytes(first[4:8], "little") == 1
    elsewhere = dataclasses.replace(bench, folder=tmp_path / "elsewhere")
    elsewhere.home.mkdir(parents=True)
    elsewhere.give(CORE)
    elsewhere.run("core", {"SOURCE_DATE_EPOCH": str(EPOCH + 1)})
    assert _bytecode(elsewhere.core / "comfy" / "engine.py").read_bytes() == first


def test_a_source_that_does_not_compile_is_not_a_failure(bench: Bench) -> None:
    bench.give({**CORE, "tree/tests/broken.py": "def broken(:\n"})
    bench.run("core")
    assert (bench.core / "tests" / "broken.py").is_file()


def test_an_earlier_core_is_replaced_without_a_trace(bench: Bench) -> None:
    bench.give(CORE)
    bench.run("core")
    bench.give({"tree/main.py": "print('two')\n", "tree/comfy/new.py": "B = 2\n"})
    bench.run("core")
    assert _files(bench.core) == {"main.py", "comfy/new.py"}
    assert (bench.core / "main.py").read_text() == "print('two')\n"
    assert not (bench.core / "core_models").exists()
    assert [path.stem[:3] for path in (bench.core / "comfy").rglob("*.pyc")] == ["new"]


def test_nodes_and_user_files_are_kept_when_the_core_changes(bench: Bench) -> None:
    bench.give(CORE)
    bench.run("core")
    kept = [bench.core / "custom_nodes/mine/__init__.py", bench.core / "output/picture.png"]
    for path in kept:
        path.parent.mkdir(parents=True)
        path.write_text("mine")
    py_compile.compile(str(kept[0]))
    bytecode = _bytecode(kept[0]).read_bytes()
    bench.give({"tree/main.py": "print('two')\n"})
    bench.run("core")
    assert [path.read_text() for path in kept] == ["mine", "mine"]
    assert _bytecode(kept[0]).read_bytes() == bytecode
    assert not (bench.core / "custom_nodes" / "example.py").exists()


def test_a_copy_that_was_cut_short_is_finished_by_the_next_run(bench: Bench) -> None:
    bench.give(CORE)
    bench.run("core")
    # What a kill between the list and the copy leaves: a list, a staging folder, few files.
    (bench.core / "main.py").unlink()
    (bench.home / ".comfy_core_staging").mkdir()
    (bench.home / ".comfy_core_staging" / "junk.py").touch()
    bench.run("core")
    assert _files(bench.core) == MADE
    assert not (bench.home / ".comfy_core_staging").exists()


def test_hostile_file_names_reach_nothing_outside(bench: Bench) -> None:
    outside = bench.home / "victim"
    outside.write_text("untouched")
    for name in ("a\n../victim", "-rf", "it's $(rm) here.py"):
        bench.give({"tree/main.py": "", f"tree/{name}": "odd"})
        bench.run("core")
        bench.give({"tree/main.py": ""})
        bench.run("core")
        assert outside.read_text() == "untouched"
        assert _files(bench.core) == {"main.py"}


def test_links_and_modes_of_the_tree_are_kept(bench: Bench) -> None:
    bench.give({"tree/main.py": "", "tree/tool.sh": "#!/bin/sh\n"})
    tree = bench.folder / "inputs" / "tree"
    (tree / "tool.sh").chmod(0o555)
    (tree / "link.py").symlink_to("main.py")
    bench.run("core")
    assert (bench.core / "link.py").readlink() == Path("main.py")
    assert (bench.core / "tool.sh").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("layer", ["system", "handler"])
def test_a_host_is_left_as_it_is_by_the_layers_of_images(bench: Bench, layer: str) -> None:
    bench.run(layer, {"SYSTEM_PACKAGES": "ffmpeg"})
    assert not list(bench.home.iterdir())


def test_the_link_to_the_models_and_what_is_there_are_kept(bench: Bench) -> None:
    bench.give(CORE)
    bench.run("core")
    (bench.home / "models/configs").mkdir(parents=True)
    (bench.home / "models/configs/own.yaml").touch()
    (bench.core / "models").symlink_to("../models")
    bench.give({**CORE, "tree/models/configs/v2.yaml": "b: 2\n"})
    bench.run("core")
    assert (bench.core / "models").readlink() == Path("../models")
    assert [path.name for path in (bench.core / "models/configs").iterdir()] == ["own.yaml"]
    assert (bench.core / "core_models/configs/v2.yaml").is_file()
