from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from comfy_home.import_needs import needs_cpu
from rp_handler.engine.command import (
    EngineFolders,
    EngineSetup,
    engine_command,
    engine_environment,
)

FOLDERS = EngineFolders(
    input=Path("/h/input"), output=Path("/s/output"), user=Path("/h/user"), temp=Path("/s/temp")
)
SETUP = EngineSetup(
    core=Path("/h/ComfyUI"),
    python=Path("/h/.venv/bin/python"),
    variables={},
    flags=frozenset(),
    input_folder=None,
    output_folder=None,
    user_folder=None,
)


def command(setup: EngineSetup, *, cpu: bool = False) -> list[str]:
    database = Path("/s/comfyui.db")
    return engine_command(setup, FOLDERS, port=8200, database=database, needs_cpu=cpu)


def value_of(arguments: list[str], option: str) -> str:
    return arguments[arguments.index(option) + 1]


def test_the_engine_serves_loopback_with_folders_of_its_own_and_never_a_base_directory() -> None:
    arguments = command(SETUP)
    assert arguments[:2] == ["/h/.venv/bin/python", "/h/ComfyUI/main.py"]
    assert value_of(arguments, "--listen") == "127.0.0.1"
    assert value_of(arguments, "--port") == "8200"
    assert value_of(arguments, "--output-directory") == "/s/output"
    assert value_of(arguments, "--temp-directory") == "/s"
    assert "--disable-auto-launch" in arguments
    assert "--base-directory" not in arguments


def test_what_the_version_asks_for_cannot_move_the_engine_off_loopback() -> None:
    setup = dataclasses.replace(SETUP, arguments=["--listen", "0.0.0.0", "--port", "80"])
    arguments = command(setup)
    assert arguments.index("0.0.0.0") < len(arguments) - arguments[::-1].index("--listen")
    assert arguments[-1 - arguments[::-1].index("--listen") + 1] == "127.0.0.1"


def test_an_option_that_came_late_is_used_only_where_the_core_has_it() -> None:
    assert "--database-url" not in command(SETUP)
    newer = dataclasses.replace(SETUP, flags=frozenset({"--database-url"}))
    assert value_of(command(newer), "--database-url") == "sqlite:////s/comfyui.db"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [([], 1), (["--cpu"], 1), (["--lowvram"], 0), (["--directml=0"], 0), (["--fast"], 1)],
)
def test_cpu_is_asked_for_unless_the_version_chose_a_device(
    arguments: list[str], expected: int
) -> None:
    setup = dataclasses.replace(SETUP, arguments=arguments)
    assert command(setup, cpu=True).count("--cpu") == expected
    assert "--cpu" not in command(SETUP, cpu=False)


def test_our_interpreter_does_not_leak_into_the_engine() -> None:
    ours = {"PYTHONPATH": "/us", "PYTHONHOME": "/us", "VIRTUAL_ENV": "/us", "PEX_ROOT": "/us"}
    environment = engine_environment(
        SETUP, {**ours, "PATH": "/bin", "HF_HOME": "/hf"}, spare_home=Path("/spare")
    )
    assert "/us" not in environment.values()
    assert environment["VIRTUAL_ENV"] == "/h/.venv"
    assert environment["PATH"] == f"/h/.venv/bin{os.pathsep}/bin"
    assert environment["HF_HOME"] == "/hf"


def test_the_environment_wins_over_the_variables_of_the_spec() -> None:
    setup = dataclasses.replace(SETUP, variables={"A": "spec", "B": "spec"})
    environment = engine_environment(setup, {"A": "here"}, spare_home=Path("/spare"))
    assert (environment["A"], environment["B"]) == ("here", "spec")


@pytest.mark.parametrize("device", ["nvidia0", "kfd", "dxg"])
def test_an_accelerator_is_recognised_by_its_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert needs_cpu({}, devices=tmp_path)
    (tmp_path / device).touch()
    assert not needs_cpu({}, devices=tmp_path)
    assert needs_cpu({"CUDA_VISIBLE_DEVICES": ""}, devices=tmp_path)


def test_on_a_mac_the_core_finds_the_device_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert not needs_cpu({}, devices=tmp_path)


def test_a_home_that_cannot_be_written_is_replaced_by_a_spare_one(tmp_path: Path) -> None:
    def home(of: str | None) -> str:
        given = {} if of is None else {"HOME": of}
        return engine_environment(SETUP, given, spare_home=Path("/spare"))["HOME"]

    assert home(str(tmp_path)) == str(tmp_path)
    assert home(None) == "/spare"
    (tmp_path / "file").touch()
    assert home(str(tmp_path / "file")) == "/spare"


def test_a_user_without_a_name_is_called_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def user(**given: str) -> str | None:
        return engine_environment(SETUP, given, spare_home=Path("/spare")).get("USER")

    assert user() is None
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 5)
    assert user() == str(2**31 - 5)
    assert user(USER="somebody") == "somebody"
