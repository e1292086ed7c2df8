"""The home folder without `HOME`, and paths that start with `~`."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from comfy_errors import UnavailableError
from comfy_files.user_paths import expanded, home_folder


@pytest.fixture
def unknown_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as a number which is in no list of users."""

    def missing(_number: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", missing)


def test_home_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home_folder() == tmp_path
    assert expanded("~/comfy-demo") == tmp_path / "comfy-demo"
    assert expanded("~") == tmp_path
    assert expanded("a/~/b") == Path("a/~/b")
    assert expanded("") == Path()


@pytest.mark.parametrize("home", [None, ""])
def test_without_home_it_is_what_the_system_knows(
    home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    assert home_folder() == Path(pwd.getpwuid(os.getuid()).pw_dir)


@pytest.mark.usefixtures("unknown_user")
def test_a_user_without_any_is_asked_to_set_home() -> None:
    for ask in (home_folder, lambda: expanded("~/x")):
        with pytest.raises(UnavailableError, match="HOME is not set") as caught:
            ask()
        assert "Set HOME" in caught.value.remedy


def test_the_home_of_a_user_who_is_not_there_is_reported() -> None:
    with pytest.raises(UnavailableError, match="no user 'no-such-user'"):
        expanded("~no-such-user/x")
