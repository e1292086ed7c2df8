from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from comfy_errors import InvalidInputError
from comfy_home.manifest import Manifest
from rp_handler.worker_log import WorkerLog

ON_RUNPOD = {"RUNPOD_POD_ID": "x"}


def lines_of(log: WorkerLog, said: list[str]) -> list[dict[str, Any]]:
    assert log.is_json
    assert all(len(line) <= 4096 and line.isascii() and "\n" not in line for line in said)
    return [json.loads(line) for line in said]


def make(**variables: str) -> tuple[WorkerLog, list[str]]:
    said: list[str] = []
    return WorkerLog(said.append, variables), said


@pytest.mark.parametrize(
    ("variables", "is_json"),
    [
        ({}, False),
        (ON_RUNPOD, True),
        ({"RUNPOD_WEBHOOK_GET_JOB": "https://x"}, True),
        ({**ON_RUNPOD, "COMFY_LOG": "text"}, False),
        ({"COMFY_LOG": "json"}, True),
        ({"COMFY_LOG": ""}, False),
    ],
)
def test_the_form_is_the_asked_one_else_that_of_the_place(
    variables: dict[str, str], is_json: bool
) -> None:
    assert make(**variables)[0].is_json is is_json


def test_another_form_is_refused() -> None:
    with pytest.raises(InvalidInputError, match='COMFY_LOG is "xml"'):
        make(COMFY_LOG="xml")


def test_sentences_stay_sentences_and_events_without_one_are_left_out() -> None:
    log, said = make()
    log.say("One.")
    log.note("job_started")
    log.note("engine_restart", "Warning: two.", pid=3)
    log.engine_line("three")
    assert said == ["One.", "Warning: two.", "comfyui: three"]


def test_a_sentence_cannot_look_like_several_lines_nor_steer_a_terminal() -> None:
    log, said = make()
    log.note("job_failed", "No node\nWarning: forged\r\x1b[2J\0.\n  File 1\n\tü")
    log.engine_line("\x1b[31mred\x9b")
    assert said == [
        "No node\n  Warning: forged??[2J?.\n  File 1\n      ü",
        "comfyui: ?[31mred?",
    ]


def test_a_line_has_its_time_level_event_version_lock_and_facts() -> None:
    log, said = make(COMFY_LOG="json")
    log.say("Before.")
    log.of_home(Manifest(version_id="demo", lock_digest="sha256:1"))
    log.note("engine_restart", "Warning: \u00e9\nb", pid=3)
    first, second = lines_of(log, said)
    assert (first["version"], first["level"], first["event"]) == (None, "info", "message")
    assert second.pop("ts").endswith("+00:00")
    assert second == {
        "level": "warning",
        "event": "engine_restart",
        "version": "demo",
        "lock": "sha256:1",
        "job": None,
        "pid": 3,
        "message": "\u00e9\nb",
    }


def test_lines_of_a_job_carry_its_id_also_from_a_task_that_outlives_it() -> None:
    log, said = make(COMFY_LOG="json")

    async def later() -> None:
        await asyncio.sleep(0.01)
        log.say("late")

    async def run() -> None:
        with log.of_job("a"):
            log.say("in time")
            task = asyncio.create_task(later())
        with log.of_job("b"):
            await task
            log.engine_line("of b")
        log.engine_line("after b")
        log.say("of none")

    asyncio.run(run())
    found = [(line["message"], line["job"]) for line in lines_of(log, said)]
    assert found == [
        ("in time", "a"),
        ("late", "a"),
        ("of b", "b"),
        ("after b", "b"),
        ("of none", None),
    ]


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_line_and_no_failure_has_a_secret(form: str) -> None:
    key = {"private_key": "-----BEGIN-----\nMIIEvQIBADANBg\n", "client_email": "me@example.org"}
    variables = {
        "COMFY_LOG": form,
        "HF_TOKEN": "hidden-token",
        "AWS_SECRET_ACCESS_KEY": "hidden-access",
        "GCS_CREDENTIALS_JSON": json.dumps(key),
        "GOOGLE_APPLICATION_CREDENTIALS": "/run/secrets/gcs.json",
        "HF_TOKEN_PATH": "/run/secrets/hf",
    }
    log, said = make(**variables)
    log.of_home(Manifest(env={"MY_API_KEY": "hidden-of-spec"}))
    text = (
        "hidden-token hidden-access hidden-of-spec MIIEvQIBADANBg hidden-of-job "
        "https://h/x?X-Amz-Signature=hidden-signed&y=1 /run/secrets/gcs.json /run/secrets/hf "
        "me@example.org short"
    )
    with log.of_job("a"):
        log.hide(["hidden-of-job", "short"])
        log.note("job_failed", text, problems=[{"text": text}])
        log.engine_line(text)
        document = log.hidden({"details": {"log": [text]}})
    for shown in (*said, json.dumps(document)):
        assert "hidden" not in shown
        assert "MIIE" not in shown
        assert "/run/secrets/gcs.json /run/secrets/hf me@example.org short" in shown
    with log.of_job("b"):
        log.say("hidden-of-job")
    assert "hidden-of-job" in said[-1]


def test_a_line_that_is_too_long_is_cut_and_stays_json() -> None:
    log, said = make(COMFY_LOG="json")
    nodes = {str(number): number for number in range(2000)}
    log.note("job_finished", "\u00e9" * 10_000, nodes=nodes, problems=["x" * 9000], run_ms=5)
    (line,) = lines_of(log, said)
    assert line["message"].startswith("\u00e9\u00e9")
    assert line["message"].endswith("\u2026")
    assert line["run_ms"] == 5
    # The slowest ones.
    assert "1999" in line["nodes"]
    assert "0" not in line["nodes"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_signed_url_is_written_as_it_is_with_the_job_it_is_of(form: str) -> None:
    log, said = make(COMFY_LOG=form)
    sentence = "gs://b/x can be read for 60 s at https://h/x?X-Goog-Signature=0123456789"
    with log.of_job("job-1"):
        log.signed_url(sentence)
    if form == "text":
        assert said == [sentence]
    else:
        line = json.loads(said[0])
        assert (line["event"], line["job"], line["message"]) == ("signed_url", "job-1", sentence)
