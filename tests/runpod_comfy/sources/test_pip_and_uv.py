"""Corners in which pip and uv differ."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from runpod_comfy.sources.index.pip_settings import (
    PYPI_INDEX_URL,
    PipSettings,
    read_pip_settings,
    uv_arguments,
    uv_environment,
)

MAIN, EXTRA, OTHER = (f"https://{name}.example/simple" for name in ("main", "extra", "other"))


def test_the_virtual_environments_file_wins_over_the_persons_and_a_named_one_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    environment = {"HOME": str(tmp_path / "home")}
    named = tmp_path / "named.conf"
    for path, url in (
        (tmp_path / "home/.config/pip/pip.conf", OTHER),
        (tmp_path / "venv/pip.conf", EXTRA),
        (named, MAIN),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"[global]\nindex-url = {url}\n")
    assert read_pip_settings(environment).index_url == EXTRA
    environment["PIP_CONFIG_FILE"] = str(named)
    assert read_pip_settings(environment).index_url == MAIN


def test_a_percent_sign_in_an_address_is_only_a_percent_sign(tmp_path: Path) -> None:
    url = "https://me:p%40ss@main.example/simple"
    named = tmp_path / "company.conf"
    named.write_text(f"[install]\n--index-url = {url}\n")
    assert read_pip_settings({"PIP_CONFIG_FILE": str(named)}).index_url == url


def test_a_timeout_of_the_environment_is_read_by_its_long_name() -> None:
    told = {"PIP_CONFIG_FILE": os.devnull, "PIP_DEFAULT_TIMEOUT": "180"}
    assert read_pip_settings(told).timeout_s == 180


def test_extra_indexes_stand_beside_pypi_and_do_not_replace_it() -> None:
    told = uv_environment(PipSettings(extra_index_urls=(EXTRA,)), {})
    assert told == {"UV_INDEX": PYPI_INDEX_URL, "UV_DEFAULT_INDEX": EXTRA}


def test_the_main_index_comes_first_and_the_last_extra_one_is_uvs_default() -> None:
    settings = PipSettings(index_url=MAIN, extra_index_urls=(EXTRA, OTHER))
    told = uv_environment(settings, {})
    assert told == {"UV_INDEX": f"{MAIN} {EXTRA}", "UV_DEFAULT_INDEX": OTHER}


def test_uv_asks_no_index_where_pip_must_not(tmp_path: Path) -> None:
    links = (str(tmp_path), "https://links.example/")
    settings = PipSettings(index_url=MAIN, no_index=True, find_links=links)
    assert settings.index_urls == ()
    assert uv_arguments(settings, {}) == ["--no-index"]
    assert uv_environment(settings, {}) == {"UV_FIND_LINKS": ",".join(links)}


@pytest.mark.parametrize("name", ["UV_INDEX", "UV_INDEX_URL", "UV_FIND_LINKS"])
def test_any_index_configured_for_uv_replaces_all_of_pips(name: str) -> None:
    settings = PipSettings(index_url=MAIN, extra_index_urls=(EXTRA,), no_index=True)
    assert uv_arguments(settings, {name: OTHER}) == []
    assert uv_environment(settings, {name: OTHER}) == {}


def test_uvs_own_timeout_and_hosts_win() -> None:
    settings = PipSettings(timeout_s=7, trusted_hosts=("a.example",))
    told = {"UV_HTTP_TIMEOUT": "3", "UV_INSECURE_HOST": "mine.example"}
    assert uv_environment(settings, told) == {}


def test_a_timeout_below_a_second_is_a_second_for_uv() -> None:
    assert uv_environment(PipSettings(timeout_s=0.2), {}) == {"UV_HTTP_TIMEOUT": "1"}


def test_addresses_that_may_hold_a_password_stay_out_of_the_text_of_the_settings() -> None:
    secret = ("https://me:hunter2@x.example/",)
    settings = PipSettings(
        index_url=secret[0], extra_index_urls=secret, find_links=secret, proxy=secret[0]
    )
    assert "hunter2" not in repr(settings)
