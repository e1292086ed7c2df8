from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfy_home.layout import HomeLayout
from comfy_home.manifest import Manifest, ManifestNode
from rp_handler.check.remedies import lfs_pointers, remedy_for
from rp_handler.engine.import_faults import ImportFault
from rp_handler.engine.imports import ImportEvent, Raised

OTHERS = ManifestNode(name="a", repo="https://example.org/a")
OWN = ManifestNode(name="a")
_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


@pytest.fixture
def home(tmp_path: Path) -> HomeLayout:
    home = HomeLayout(root=tmp_path)
    (home.custom_nodes / "a").mkdir(parents=True)
    return home


def fault(*chain: Raised, group: str = "custom_nodes", name: str = "a") -> ImportFault:
    event = ImportEvent(
        event="raised",
        group=group,
        name=name,
        stage="import",
        file=f"{group}/{name}/__init__.py",
        number=1,
        by_core=True,
        chain=list(chain),
    )
    return ImportFault(group=group, name=name, fault="failed to import", event=event)


def missing(module: str) -> Raised:
    return Raised(type="ModuleNotFoundError", message=f"No module named '{module}'", module=module)


def remedy(home: HomeLayout, fault: ImportFault, node: ManifestNode = OTHERS, **facts: Any) -> str:
    return remedy_for(fault, home, Manifest(nodes=[node], **facts))


@pytest.mark.parametrize(
    ("module", "distribution"),
    [
        ("cv2", "opencv-python-headless"),
        ("PIL.Image", "pillow"),
        ("git", "gitpython"),
        ("google.genai", "google-genai"),
        ("insightface.app", "insightface"),
    ],
)
def test_a_missing_module_is_answered_with_the_distribution_that_has_it(
    home: HomeLayout, module: str, distribution: str
) -> None:
    wrapped = fault(Raised(type="ImportError", message="install it"), missing(module))
    assert f'"options": {{"requirements": ["{distribution}"]}}' in remedy(home, wrapped)
    assert f"Add {distribution} to the requirements.txt" in remedy(home, wrapped, OWN)


def test_an_install_script_that_did_not_run_is_offered(home: HomeLayout) -> None:
    (home.custom_nodes / "a/install.py").touch()
    broken = fault(missing("built_by_it"))
    assert '{"run_install_scripts": ["a"]}' in remedy(home, broken)
    assert "run_install" not in remedy(home, broken, layers={"install:a": "sha256:0"})


def test_requirements_above_the_subdir_are_named(home: HomeLayout) -> None:
    node = ManifestNode(
        name="a",
        repo="https://example.org/a",
        subdir="nodes/a",
        requirements_above="requirements.txt",
    )
    told = remedy(home, fault(missing("kornia")), node)
    assert told.startswith("Its requirements.txt lies above its subdir (nodes/a)")


def test_pointers_of_git_lfs_are_named(home: HomeLayout) -> None:
    folder = home.custom_nodes / "a"
    (folder / "data").mkdir()
    (folder / "data/weights.bin").write_text(_POINTER)
    (folder / "code.py").write_text("x = 1\n")
    assert lfs_pointers(folder) == ["data/weights.bin"]
    told = remedy(home, fault(Raised(type="ValueError", message="bad magic")))
    assert "only Git LFS pointers (data/weights.bin)" in told


def test_a_module_of_the_nodes_own_is_not_looked_for_on_an_index(home: HomeLayout) -> None:
    (home.custom_nodes / "a/own.py").touch()
    for module in ("own.part", f"{home.custom_nodes}/a.part"):
        assert "options" not in remedy(home, fault(missing(module)))
    assert "for this ComfyUI" in remedy(home, fault(missing("comfy_api.latest")))


def test_a_node_of_somebody_else_a_own_one_and_the_cores_get_different_advice(
    home: HomeLayout,
) -> None:
    raised = Raised(type="ValueError", message="no")
    others = remedy(home, fault(raised))
    assert "report this to its author (https://example.org/a)" in others
    assert remedy(home, fault(raised), OWN).startswith("Correct the node where it comes")
    for_core = remedy(home, fault(raised, group="comfy_extras", name="nodes_canny.py"))
    assert for_core.startswith("This is ComfyUI's own module")
    home.core_files.write_bytes(b"./main.py\0./custom_nodes/example.py\0")
    assert remedy(home, fault(raised, name="example.py")) == for_core
    by_hand = remedy(home, fault(raised, name="b"))
    assert by_hand.startswith(f"{home.custom_nodes / 'b'} is not part of this version: added by")


def test_a_name_that_a_package_lost_is_answered_with_another_release(home: HomeLayout) -> None:
    lost = Raised(type="ImportError", message="cannot import name 'X'", module="transformers.y")
    assert "Another release of the distribution with transformers" in remedy(home, fault(lost))


@pytest.mark.parametrize(
    ("type_", "message", "need"),
    [
        ("RuntimeError", "Found no NVIDIA driver on your system.", "gpu"),
        ("AssertionError", "Torch not compiled with CUDA enabled", "gpu"),
        ("OSError", "libcuda.so.1: cannot open shared object file", "gpu"),
        ("KeyError", "'SOME_API_KEY'", "env:SOME_API_KEY"),
        ("ValueError", "Please set the environment variable SOME_TOKEN", "env:SOME_TOKEN"),
        ("ValueError", "SOME_TOKEN not found in environment", "env:SOME_TOKEN"),
    ],
)
def test_what_the_machine_lacks_can_be_stated_in_the_spec(
    home: HomeLayout, monkeypatch: pytest.MonkeyPatch, type_: str, message: str, need: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    raised = fault(Raised(type=type_, message=message))
    assert f'"options": {{"import_needs": {{"a": ["{need}"]}}}}' in remedy(home, raised)
    for name in ("SOME_API_KEY", "SOME_TOKEN"):
        monkeypatch.setenv(name, "secret")
    assert ("import_needs" in remedy(home, raised)) == (need == "gpu")


def test_arguments_that_keep_nodes_from_running_are_named(home: HomeLayout) -> None:
    never = ImportFault(group="custom_nodes", name="a", fault="was never executed by ComfyUI")
    told = remedy(home, never, comfy_args=["--disable-all-custom-nodes", "--cpu"])
    assert told.startswith("Remove --disable-all-custom-nodes from options.comfy_args")
