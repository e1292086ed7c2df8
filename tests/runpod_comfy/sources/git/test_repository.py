"""How git is run."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from comfy_errors import UnavailableError
from runpod_comfy.sources.git.repository import GitFailedError, run_git
from tests.program import write_program


def test_a_failure_gives_gits_own_explanation(tmp_path: Path) -> None:
    with pytest.raises(GitFailedError) as raised:
        run_git(["rev-parse", "HEAD"], repository=tmp_path)
    assert raised.value.reason.startswith("fatal: not a git repository")


def test_a_full_disk_is_reported_with_its_own_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(
        tmp_path / "git", "echo 'fatal: write error: No space left on device' >&2\nexit 128\n"
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitFailedError, match="No space left") as raised:
        run_git(["fetch"])
    for error in (raised.value, raised.value.unreachable("https://h/x")):
        assert error.exit_code == 1
        assert error.remedy.startswith("Free some space")


def test_the_advice_of_git_is_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_program(
        tmp_path / "git",
        "printf '%s\\n' \"fatal: detected dubious ownership in repository at '/x'\" "
        "'To add an exception for this directory, call:' '' "
        "'\tgit config --global --add safe.directory /x' >&2\nexit 128\n",
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitFailedError, match="dubious ownership") as raised:
        run_git(["ls-remote"])
    for error in (raised.value, raised.value.unreachable("file:///x")):
        assert error.remedy == "git's advice: git config --global --add safe.directory /x"


def test_a_machine_without_git_is_reported_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="git is not installed") as raised:
        run_git(["--version"])
    assert "apt-get install git" in raised.value.remedy


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"git://127.0.0.1:{silent.getsockname()[1]}/x.git"
        with pytest.raises(GitFailedError, match="no answer for 1 seconds"):
            run_git(["ls-remote", "--", url], stall_s=1.0)


def test_git_never_asks_for_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GIT_ASKPASS", raising=False)
    monkeypatch.setenv("SSH_ASKPASS", "a-window")
    write_program(tmp_path / "git", 'echo "$GIT_TERMINAL_PROMPT|$GIT_ASKPASS|$SSH_ASKPASS"\n')
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_git(["ls-remote"]) == b"0||false\n"
