"""install.py of nodes: runs where the spec lists the node, is watched, and stays in its home."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, OperationFailedError
from comfy_home.manifest import load_manifest
from runpod_comfy.homes.changes import find_changes
from runpod_comfy.homes.install_scripts import InstallRecord
from runpod_comfy.homes.remove import plan_removal, remove
from runpod_comfy.homes.run import RealizeResult, plan_here, realize
from tests.http_server import serve
from tests.package_index import make_wheel, write_index
from tests.runpod_comfy.homes.conftest import Version, imports, snapshot
from tests.runpod_comfy.homes.test_killed import LEFT_OUT, Runner

# Installs packages in each test.
pytestmark = pytest.mark.slow

_WRITES = """
import os, pathlib, sys
import alpha
assert sys.prefix == os.environ["VIRTUAL_ENV"]
assert os.environ["COMFYUI_PATH"] == os.environ["COMFYUI_FOLDERS_BASE_PATH"]
assert pathlib.Path(os.environ["COMFYUI_PATH"], "custom_nodes/painter") == pathlib.Path.cwd()
assert sys.stdin.read() == ""
pathlib.Path("weights.txt").write_text("weights")
pathlib.Path("../../web").mkdir()
pathlib.Path("../../web/page.js").write_text("page")
pathlib.Path("../../main.py").write_text("print('patched')")
pathlib.Path(alpha.__file__).open("a").write("PATCHED = 1\\n")
pathlib.Path.home().joinpath("left.txt").write_text("gone afterwards")
"""


def _let_run(version: Version, source: str, *, nodes: tuple[str, ...] = ("painter",)) -> None:
    for node in nodes:
        version.write(f"{node}/install.py", source)
    version.changes = {"run_install_scripts": list(nodes)}


def _library(home: Path) -> Path:
    (library,) = home.glob(".venv/lib/python3.*/site-packages")
    return library


def _record(result: RealizeResult) -> InstallRecord:
    (record,) = result.install_scripts
    return record


def _outcomes(result: RealizeResult) -> dict[str, str]:
    return {layer.name: layer.outcome for layer in result.layers}


@pytest.fixture
def wheels(version: Version) -> Callable[[str, str], str]:
    """Makes a wheel beside the locked ones; gives what installs it, and nothing else, with pip."""

    def install(name: str, number: str, more: str = "") -> str:
        make_wheel(version.wheels_dir, name, number)
        options = "'-m', 'pip', 'install', '--quiet', '--no-deps'"
        return (
            "import subprocess, sys\n"
            f"subprocess.run([sys.executable, {options}, '{name}=={number}'{more}], check=True)\n"
        )

    return install


def test_a_script_runs_only_where_its_node_is_listed(version: Version) -> None:
    version.write("painter/install.py", "open('ran', 'w')")
    assert _outcomes(realize(version.job())).keys().isdisjoint({"install:painter"})
    assert not (version.home / "ComfyUI/custom_nodes/painter/ran").exists()
    version.changes = {"run_install_scripts": ["painter"]}
    realize(version.job())
    assert (version.home / "ComfyUI/custom_nodes/painter/ran").exists()


def test_what_a_script_changed_is_reported(version: Version) -> None:
    said: list[str] = []
    _let_run(version, _WRITES)
    record = _record(realize(version.job(say=said.append)))
    files = {
        place: [(file.path, file.change) for file in getattr(record.files, place)]
        for place in ("node", "home", "environment")
    }
    assert files == {
        "node": [("weights.txt", "added")],
        "home": [("ComfyUI/main.py", "changed"), ("ComfyUI/web/page.js", "added")],
        "environment": [
            (str(_library(version.home) / "alpha.py")[len(str(version.home)) + 7 :], "changed")
        ],
    }
    assert record.distributions == []
    assert record.discarded == ["left.txt"]
    assert (
        "install.py of painter changed 1 file in its folder, 2 files elsewhere in the home, "
        "1 file in the environment"
    ) in said
    written = (version.home / ".comfy_install/painter.json").read_bytes()
    assert InstallRecord.model_validate_json(written) == record
    assert imports(version.home, "alpha; alpha.PATCHED")


def test_distributions_that_a_script_installed_are_reported_with_their_versions(
    version: Version, wheels: Callable[[str, str], str]
) -> None:
    _let_run(version, wheels("alpha", "1.1") + wheels("beta", "2.0"))
    record = _record(realize(version.job()))
    told = [(each.name, each.before, each.after) for each in record.distributions]
    assert told == [("alpha", "1.0", "1.1"), ("beta", None, "2.0")]
    assert record.files.environment == []
    assert "alpha (1.0 → 1.1), beta (new: 2.0)" in record.in_words()
    assert imports(version.home, "beta")


def test_everything_has_the_time_of_a_layer_and_bytecode_of_its_source(version: Version) -> None:
    _let_run(version, _WRITES)
    realize(version.job())
    for path in (version.home / "ComfyUI", version.home / ".venv"):
        times = {int(each.lstat().st_mtime) for each in (path, *path.rglob("*"))}
        assert max(times) < 320_000_000 + 2**24
    assert next(_library(version.home).glob("__pycache__/alpha.*.pyc"))
    assert not list((version.home / "ComfyUI/__pycache__").glob("main.*.pyc"))


@pytest.mark.parametrize("how", ["overwrites", "replaces", "removes"])
def test_a_script_that_touches_torch_fails_by_name(
    version: Version, wheels: Callable[[str, str], str], how: str
) -> None:
    source = {
        "overwrites": "import torchlike; open(torchlike.__file__, 'a').write('X = 1')",
        "replaces": "import os; del os.environ['PIP_CONSTRAINT']\n" + wheels("torchlike", "1.1"),
        "removes": "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'pip', 'uninstall', '-qy', 'torchlike'])",
    }[how]
    words = {
        "overwrites": r"torchlike \(lib/python3.*/site-packages/torchlike\.py changed\)",
        "replaces": r"torchlike \(1\.0 → 1\.1\)",
        "removes": r"torchlike \(1\.0 → gone\)",
    }[how]
    _let_run(version, source)
    with pytest.raises(OperationFailedError, match="painter changed the torch group.*" + words):
        realize(version.job())
    manifest = load_manifest(version.home)
    assert manifest is not None
    assert not manifest.complete
    # The next run, without the script, starts clean.
    version.changes = {}
    result = realize(version.job())
    assert set(_outcomes(result).values()) <= {"built", "recalled"}
    assert imports(version.home, "torchlike; assert torchlike.__version__ == '1.0'")
    assert not imports(version.home, "torchlike; torchlike.X")
    assert not (version.home / ".comfy_install").exists()


def test_torch_is_a_constraint_for_what_a_script_installs(
    version: Version, wheels: Callable[[str, str], str]
) -> None:
    _let_run(version, wheels("torchlike", "1.1"))
    with pytest.raises(OperationFailedError, match="torchlike==1.1") as caught:
        realize(version.job())
    assert "touched" not in caught.value.message


def test_a_file_written_again_with_the_recorded_bytes_is_not_a_change(
    version: Version,
) -> None:
    _let_run(
        version,
        "import pathlib, torchlike\n"
        "path = pathlib.Path(torchlike.__file__); text = path.read_bytes()\n"
        "path.unlink(); path.write_bytes(text)\n",
    )
    record = _record(realize(version.job()))
    assert record.files.environment == []


def test_no_byte_of_a_cache_changes_when_a_script_writes_in_place(version: Version) -> None:
    realize(version.job(version.folder / "other"))
    caches = (version.cache.environments, version.cache.uv, version.cache.trees)
    before = [snapshot(cache) for cache in caches]
    other = snapshot(version.folder / "other")
    _let_run(version, _WRITES)
    realize(version.job())
    assert imports(version.home, "alpha; alpha.PATCHED")
    assert [snapshot(cache) for cache in caches[:2]] == before[:2]
    assert before[2].items() <= snapshot(version.cache.trees).items()
    assert snapshot(version.folder / "other") == other
    # Nor is what the script made given to another home.
    version.changes = {}
    realize(version.job(version.folder / "third"))
    assert not imports(version.folder / "third", "alpha; alpha.PATCHED")


def test_the_check_is_made_for_each_home_whose_scripts_ran(version: Version) -> None:
    _let_run(version, "open('__init__.py', 'a').write('import time')")
    for name in ("one", "two"):
        assert _outcomes(realize(version.job(version.folder / name)))["check"] == "built"
    assert not version.cache.checks.exists()


def test_offline_a_script_reaches_nothing(version: Version, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    with serve(tmp_path / "site") as url:
        _let_run(
            version,
            "import urllib.request as r\n"
            "opener = r.build_opener(r.ProxyHandler({}))\n"
            "try:\n"
            f"    opener.open('{url}', timeout=60)\n"
            "except OSError:\n"
            "    open('refused', 'w')\n"
            "else:\n"
            "    open('reached', 'w')\n",
        )
        open_record = _record(realize(version.job(version.folder / "open")))
        closed_record = _record(realize(version.job(version.folder / "closed", offline=True)))
    assert open_record.network == "open"
    assert [file.path for file in open_record.files.node] == ["reached"]
    # Where the network cannot be taken away, only what heeds the variables is refused.
    if closed_record.network == "none":
        assert [file.path for file in closed_record.files.node] == ["refused"]
    else:
        assert closed_record.network == "refused by variables"


def test_pip_in_a_script_uses_the_machines_index_and_offline_none(
    version: Version, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "index/files").mkdir(parents=True)
    make_wheel(tmp_path / "index/files", "gamma", "3.0")
    for name in ("torchlike", "alpha"):
        make_wheel(tmp_path / "index/files", name, "1.0")
    write_index(tmp_path / "index")
    _let_run(
        version,
        "import subprocess, sys\n"
        "subprocess.run(['pip', 'install', '--quiet', 'gamma'], check=True)\n",
    )
    with serve(tmp_path / "index") as url:
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
        record = _record(realize(version.job(wheels_dir=None)))
        assert [each.name for each in record.distributions] == ["gamma"]
        with pytest.raises(OperationFailedError, match="gamma"):
            realize(version.job(version.folder / "other", wheels_dir=None, offline=True))


def test_secrets_and_caches_of_the_machine_do_not_reach_a_script(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("RUNPOD_API_KEY", "secret")
    monkeypatch.setenv("XDG_CACHE_HOME", str(version.folder / "xdg"))
    monkeypatch.setenv("HARMLESS", "1")
    _let_run(version, "import os; open('variables', 'w').write('\\n'.join(os.environ))")
    realize(version.job())
    names = (version.home / "ComfyUI/custom_nodes/painter/variables").read_text().split()
    assert "HARMLESS" in names
    assert not {"HF_TOKEN", "RUNPOD_API_KEY", "XDG_CACHE_HOME", "HANDLER_PATH"} & set(names)


def test_a_second_time_nothing_runs(version: Version) -> None:
    _let_run(version, "import pathlib; pathlib.Path('../../n').open('a').write('1')")
    realize(version.job())
    result = realize(version.job())
    assert not result.changed
    job = version.job()
    assert find_changes(job, plan_here(job.lock), load_manifest(job.target)).is_nothing
    assert (version.home / "ComfyUI/n").read_text() == "1"


@pytest.mark.parametrize("changed", ["node", "core", "package", "folder"])
def test_what_came_before_a_script_changed_so_it_runs_on_a_clean_home(
    version: Version, changed: str
) -> None:
    version.nodes = ["painter", "dancer"]
    version.write("dancer/__init__.py", "")
    _let_run(version, "import pathlib; pathlib.Path('../../n').open('a').write('1')\n" + _PATCH)
    realize(version.job())
    if changed == "node":
        version.write("dancer/__init__.py", "A = 1")
    if changed == "core":
        version.write("core/main.py", "print('newer')\n")
    if changed == "package":
        version.wheels = [*version.wheels, version.wheel("beta", "2.0")]
    if changed == "folder":
        (version.home / "ComfyUI/custom_nodes/dancer").rename(version.folder / "gone")
    result = realize(version.job())
    assert "kept" not in _outcomes(result).values()
    # Once, not twice: what the first run had added and patched was gone.
    assert (version.home / "ComfyUI/n").read_text() == "1"
    assert (_library(version.home) / "alpha.py").read_text().count("PATCHED") == 1
    fresh = version.folder / "fresh"
    realize(version.job(fresh))
    assert _contents(version.home) == _contents(fresh)


_PATCH = "import alpha; open(alpha.__file__, 'a').write('PATCHED = 1\\n')\n"


def _contents(home: Path) -> dict[str, tuple[int, str, bytes]]:
    return snapshot(home, leave_out=LEFT_OUT)


def test_a_node_taken_off_the_list_leaves_nothing_of_its_script(version: Version) -> None:
    _let_run(version, _WRITES)
    realize(version.job())
    mine = version.home / "ComfyUI/custom_nodes/mine/__init__.py"
    mine.parent.mkdir()
    mine.write_text("MINE = 1")
    picture = version.home / "output/picture.png"
    picture.write_text("picture")
    version.changes = {}
    realize(version.job())
    assert mine.read_text() == "MINE = 1"
    assert picture.read_text() == "picture"
    mine.unlink()
    mine.parent.rmdir()
    picture.unlink()
    fresh = version.folder / "fresh"
    realize(version.job(fresh))
    assert _contents(version.home) == _contents(fresh)
    assert next(_library(version.home).glob("alpha.py")).stat().st_nlink > 1


def test_two_scripts_run_in_the_order_of_the_list_and_see_each_other(version: Version) -> None:
    version.nodes = ["painter", "dancer"]
    version.write("dancer/__init__.py", "")
    source = "import os; open('../../order', 'a').write(os.path.basename(os.getcwd()) + ' ')"
    _let_run(version, source, nodes=("painter", "dancer"))
    result = realize(version.job())
    assert (version.home / "ComfyUI/order").read_text() == "painter dancer "
    first, second = result.install_scripts
    assert [file.change for file in first.files.home] == ["added"]
    assert [file.change for file in second.files.home] == ["changed"]


def test_a_script_that_fails_shows_its_output_and_the_home_is_made_again(version: Version) -> None:
    _let_run(version, "import sys; open('../../half', 'w'); sys.exit('no compiler here')")
    with pytest.raises(OperationFailedError, match="no compiler here") as caught:
        realize(version.job())
    assert "makes this home again" in caught.value.remedy
    _let_run(version, "open('whole', 'w')")
    realize(version.job())
    assert not (version.home / "ComfyUI/half").exists()
    assert (version.home / "ComfyUI/custom_nodes/painter/whole").exists()


def test_a_script_that_does_not_end_is_ended(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFY_INSTALL_TIMEOUT_S", "1")
    _let_run(version, "import subprocess; subprocess.run(['sleep', '600'])")
    started = time.monotonic()
    with pytest.raises(OperationFailedError, match="timed out"):
        realize(version.job())
    assert time.monotonic() - started < 300


def test_killed_in_the_middle_of_a_script_the_home_comes_out_the_same(version: Version) -> None:
    _let_run(version, "import pathlib; pathlib.Path('../../n').open('a').write('1')\n" + _PATCH)
    realize(version.job(version.folder / "undisturbed"))
    waits = (
        "import os, pathlib, time\n"
        f"pathlib.Path({str(version.folder / 'pid')!r}).write_text(str(os.getpid()))\n"
        f"while not pathlib.Path({str(version.folder / 'go')!r}).exists(): time.sleep(0.01)\n"
    )
    (version.folder / "go").touch()
    _let_run(
        version, "import pathlib; pathlib.Path('../../n').open('a').write('1')\n" + _PATCH + waits
    )
    realize(version.job(version.folder / "undisturbed"))
    (version.folder / "go").unlink()
    (version.folder / "pid").unlink()
    runner = Runner(job=version.job())
    process = runner.start()
    script = _wait_for_pid(version.folder / "pid")
    process.kill()
    process.communicate()
    # The script itself, and what watches it.
    watcher = int(Path(f"/proc/{script}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(watcher, signal.SIGKILL)
    os.kill(script, signal.SIGKILL)
    assert (version.home / "ComfyUI/n").read_text() == "1"
    (version.folder / "go").touch()
    runner.finish()
    assert (version.home / "ComfyUI/n").read_text() == "1"
    assert _contents(version.home) == _contents(version.folder / "undisturbed")


def _wait_for_pid(path: Path) -> int:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.01)
    raise AssertionError("the script never ran")


def test_a_listed_node_without_a_script_is_named_before_anything_is_made(version: Version) -> None:
    version.changes = {"run_install_scripts": ["painter"]}
    with pytest.raises(InvalidInputError, match="'painter', but that node has no install.py"):
        realize(version.job())
    assert not version.home.exists()


def test_remove_takes_the_records_and_what_scripts_added(version: Version) -> None:
    _let_run(
        version, "import os; os.mkdir('../../extra'); open('../../extra/m.pth', 'w').write('m')"
    )
    realize(version.job())
    remove(plan_removal(version.home, remove_root=True))
    assert not version.home.exists()


def test_a_model_that_a_script_downloaded_is_a_model_and_stays(version: Version) -> None:
    _let_run(version, "open('../../models/m.pth', 'w').write('m')")
    record = _record(realize(version.job()))
    model = version.home / "models/m.pth"
    assert [file.path for file in record.files.home] == ["models/m.pth"]
    remove(plan_removal(version.home, remove_root=True))
    assert [path for path in version.home.rglob("*") if path.is_file()] == [model]
