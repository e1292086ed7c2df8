from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from rp_handler.main import Mode, add_sdk_options, choose_listen, choose_mode, sdk_arguments

IMAGE = {"COMFY_BAKED_HOME": "/opt/comfy"}
TAKES_JOBS = {"RUNPOD_WEBHOOK_GET_JOB": "https://x"}


def mode(
    environment: dict[str, str],
    folder: Path,
    *,
    workflow: str | None = None,
    ui: bool = False,
    sdk: list[str] | None = None,
) -> Mode:
    path = Path(workflow) if workflow else None
    return choose_mode(environment, workflow=path, ui=ui, sdk=sdk or [], folder=folder)


def test_flags_come_before_variables(tmp_path: Path) -> None:
    everything = {**IMAGE, **TAKES_JOBS, "COMFY_MODE": "ui"}
    assert mode(everything, tmp_path, workflow="w.json") == "workflow"
    assert mode(everything, tmp_path, sdk=["--rp_serve_api"]) == "worker"
    assert mode(everything, tmp_path) == "ui"
    assert mode({}, tmp_path, ui=True, workflow="w.json") == "ui"


def test_jobs_are_taken_where_runpod_offers_them(tmp_path: Path) -> None:
    assert mode(TAKES_JOBS, tmp_path) == "worker"
    assert mode({**IMAGE, **TAKES_JOBS}, tmp_path) == "worker"


def test_a_test_input_in_an_image_is_a_job(tmp_path: Path) -> None:
    (tmp_path / "test_input.json").touch()
    assert mode(IMAGE, tmp_path) == "worker"
    with pytest.raises(InvalidInputError):
        mode({}, tmp_path)


def test_if_there_is_nothing_to_do_every_option_is_listed(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        mode(IMAGE, tmp_path)
    for flag in ("--workflow", "--ui", "--rp_serve_api"):
        assert flag in caught.value.remedy
    with pytest.raises(InvalidInputError, match='COMFY_MODE is "page"'):
        mode({"COMFY_MODE": "page"}, tmp_path)


def test_the_page_of_an_image_is_reached_from_outside_and_others_are_not() -> None:
    assert choose_listen(IMAGE, asked=None, mode="ui") == "0.0.0.0"
    assert choose_listen({}, asked=None, mode="ui") == "127.0.0.1"
    assert choose_listen({**IMAGE, "COMFY_LISTEN": "::1"}, asked=None, mode="ui") == "::1"
    assert choose_listen({"COMFY_LISTEN": "::1"}, asked="10.0.0.1", mode="ui") == "10.0.0.1"
    for other in ("worker", "workflow"):
        listen = choose_listen({**IMAGE, "COMFY_LISTEN": "0.0.0.0"}, asked=None, mode=other)
        assert listen == "127.0.0.1"


def test_an_address_that_is_none_or_has_no_use_is_refused() -> None:
    with pytest.raises(InvalidInputError, match='"everywhere" is not an IP address'):
        choose_listen({}, asked="everywhere", mode="ui")
    with pytest.raises(InvalidInputError, match="only applies to ComfyUI's page"):
        choose_listen(IMAGE, asked="0.0.0.0", mode="workflow")


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--test_input", "{broken", "not JSON"),
        ("--rp_api_port", "http", '"http" is not a port'),
        ("--rp_api_port", "65536", '"65536" is not a port'),
        ("--rp_api_concurrency", "0", '"0" is not a number above 0'),
    ],
)
def test_a_value_that_the_sdk_could_not_use_is_refused_before_anything_starts(
    capsys: pytest.CaptureFixture[str], flag: str, value: str, said: str
) -> None:
    parser = argparse.ArgumentParser()
    add_sdk_options(parser)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args([flag, value])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_flags_of_the_sdk_are_passed_on_unchanged() -> None:
    parser = argparse.ArgumentParser()
    add_sdk_options(parser)
    given = ["--rp_serve_api", "--rp_api_port", "8001", "--test_input", '{"input": {}}']
    assert sdk_arguments(parser.parse_args(given)) == given
    assert sdk_arguments(parser.parse_args([])) == []
