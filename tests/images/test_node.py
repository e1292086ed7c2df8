from __future__ import annotations

import json
from pathlib import Path

from tests.images.conftest import EPOCH, Bench


def _place(bench: Bench) -> Path:
    return bench.core / "custom_nodes" / "painter"


def test_a_node_is_a_copy_of_its_own_compiled_and_settled(bench: Bench) -> None:
    bench.give({"tree/__init__.py": "A = 1\n", "tree/js/app.js": "x"})
    bench.run("node", {"NODE_NAME": "painter"})
    assert (_place(bench) / "js/app.js").read_text() == "x"
    assert not _place(bench).is_symlink()
    assert list((_place(bench) / "__pycache__").glob("__init__.*.pyc"))
    paths = [_place(bench), *_place(bench).rglob("*")]
    assert {int(path.lstat().st_mtime) for path in paths} == {EPOCH}


def test_an_earlier_copy_is_replaced_whole_and_other_nodes_stay(bench: Bench) -> None:
    other = bench.core / "custom_nodes" / "other" / "__init__.py"
    other.parent.mkdir(parents=True)
    other.write_text("other")
    bench.give({"tree/old.py": "", "tree/__init__.py": "A = 1\n"})
    bench.run("node", {"NODE_NAME": "painter"})
    (_place(bench) / "written_by_the_node.json").write_text("{}")
    bench.give({"tree/__init__.py": "A = 2\n"})
    bench.run("node", {"NODE_NAME": "painter"})
    left = sorted(path.name for path in _place(bench).iterdir())
    assert left == ["__init__.py", "__pycache__"]
    assert (_place(bench) / "__init__.py").read_text() == "A = 2\n"
    assert other.read_text() == "other"


def test_a_node_can_be_written_to_although_its_tree_cannot(bench: Bench) -> None:
    bench.give({"tree/config.json": "{}"})
    (bench.folder / "inputs/tree/config.json").chmod(0o444)
    (bench.folder / "inputs/tree").chmod(0o555)
    bench.run("node", {"NODE_NAME": "painter"})
    (bench.folder / "inputs/tree").chmod(0o755)
    assert (_place(bench) / "config.json").stat().st_mode & 0o200
    assert _place(bench).stat().st_mode & 0o200


_LINKS = {
    "ckpts/a/x.pth": "../../../../models/node_models/painter/ckpts/a/x.pth",
    "y.pth": "../../models/node_models/painter/y.pth",
}


def test_models_are_linked_into_its_folder(bench: Bench) -> None:
    for number in range(2):
        # A pointer of git LFS is such a file.
        bench.give({"tree/__init__.py": f"A = {number}\n", "tree/y.pth": "version https://git-lfs"})
        (bench.folder / "inputs/models.json").write_text(json.dumps(_LINKS))
        bench.run("node", {"NODE_NAME": "painter"})
        for path, target in _LINKS.items():
            assert (_place(bench) / path).readlink() == Path(target)
            assert int((_place(bench) / path).lstat().st_mtime) == EPOCH
    model = bench.core / "models/node_models/painter/ckpts/a/x.pth"
    model.parent.mkdir(parents=True)
    model.write_text("weights")
    assert (_place(bench) / "ckpts/a/x.pth").read_text() == "weights"


def test_a_model_never_takes_the_place_of_a_folder_or_leaves_the_node(bench: Bench) -> None:
    outside = bench.folder / "outside"
    outside.mkdir()
    bench.give({"tree/__init__.py": "", "tree/x.pth/a.py": ""})
    (bench.folder / "inputs/tree/ckpts").symlink_to(outside)
    for path, reason in (
        ("x.pth", "the node has a folder there"),
        ("__init__.py/x.pth", "one of its folders is a file of the node"),
        ("ckpts/x.pth", "a link that leads outside"),
        ("ckpts/new/x.pth", "a link that leads outside"),
    ):
        (bench.folder / "inputs/models.json").write_text(json.dumps({path: "x"}))
        outcome = bench.attempt("node", {"NODE_NAME": "painter"})
        assert outcome.returncode == 1
        assert reason in outcome.stderr
        assert "'target_path'" in outcome.stderr
        assert "Traceback" not in outcome.stderr
    assert list(outside.iterdir()) == []
