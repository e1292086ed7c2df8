"""Whatever a job sends: its files are there, or one sentence says why not, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from comfy_errors import ComfyError
from comfy_files.json_faults import faults_in_words
from rp_handler.errors import failure_document
from rp_handler.inputs.document import JobInputs
from rp_handler.inputs.fetch import fetch_inputs
from rp_handler.inputs.policy import InputPolicy
from tests.hostile_texts import (
    SECRET,
    addresses,
    assert_is_sentence,
    assert_keeps_secrets,
    hostile,
    texts,
    values,
)
from tests.http_server import Answer, Request, cut, redirect, serve
from tests.loopback_canary import PUBLIC_NAME, Canary, canary, resolve_public_name
from tests.model_hosts.hostile import take_no_time

CONTENT = b"content of a file"
_RANDOM = random.Random(1)
POLICY = InputPolicy(silence_s=2, total_bytes=60)
KINDS = ("fetched", "not valid", "invalid_input", "input_fetch_failed")
# Replaced by the servers of the test.
SERVER, BIRD = "SERVER", "BIRD"

_GOOD_NAMES = st.sampled_from(["a.png", "b.png", "a", "a/b", "deep/er/c.glb", "ü [x]", "..d", "e"])
_base64 = st.binary(min_size=1, max_size=30).map(lambda it: base64.b64encode(it).decode())
_well_formed_urls = st.one_of(
    st.sampled_from(["whole", "whole", "cut", "gone", "page", "to"]).map(f"{SERVER}/{{}}".format),
    st.integers(0, 15).map(f"{BIRD}/{{}}".format),
    st.tuples(st.sampled_from(["gs://bucket", "s3://bucket"]), texts).map("/".join),
)
_urls = st.one_of(_well_formed_urls, addresses)
_contents = st.one_of(
    *(_base64, _base64.map("data:;base64,{}".format), _base64.map(lambda it: it[:-1])),
    *(_urls, texts),
)
_sha256s = st.sampled_from([hashlib.sha256(CONTENT).hexdigest(), "ab" * 32])
_images = st.fixed_dictionaries({"name": texts, "image": _contents}) | values
_files = st.fixed_dictionaries({"name": texts, "url": _contents}, optional={"sha256": texts})
_well_formed = st.fixed_dictionaries(
    {
        "images": st.lists(
            st.fixed_dictionaries(
                {"name": _GOOD_NAMES, "image": _base64 | _base64 | _well_formed_urls}
            ),
            max_size=2,
        ),
        "files": st.lists(
            st.fixed_dictionaries(
                {"name": _GOOD_NAMES, "url": _well_formed_urls}, optional={"sha256": _sha256s}
            ),
            max_size=2,
        ),
    }
)
documents = st.one_of(
    *(_well_formed, _well_formed),
    st.fixed_dictionaries({"images": st.lists(_images, max_size=2)}),
    st.fixed_dictionaries({"files": st.lists(_files, max_size=2)}),
    st.fixed_dictionaries({"images": values, "files": values}),
)


@pytest.fixture
def bird() -> Iterator[Canary]:
    with canary() as bird:
        yield bird


def answer(request: Request, bird: Canary) -> Answer:
    kind = request.path.strip("/")
    if kind == "to":
        return redirect(_RANDOM.choice(bird.urls()).encode().decode("latin-1"))
    if kind == "page":
        return Answer(headers={"Content-Type": "text/html"}, body=b"<html>")
    return {"whole": Answer(body=CONTENT), "cut": cut(CONTENT, 3)}.get(kind, Answer(status=404))


def placed(value: Any, server: str, bird: Canary) -> Any:
    """`value` with the servers of the test."""
    if isinstance(value, dict):
        return {key: placed(each, server, bird) for key, each in value.items()}
    if isinstance(value, list):
        return [placed(each, server, bird) for each in value]
    if isinstance(value, str) and value.startswith(BIRD):
        return bird.urls()[int(value.partition("/")[2])]
    return value.replace(SERVER, server, 1) if isinstance(value, str) else value


def test_any_job_is_answered_and_nothing_private_is_reached(
    tmp_path: Path, bird: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_public_name(monkeypatch)
    take_no_time(monkeypatch)
    around, outcomes = tmp_path / "around", Counter[str]()
    with (
        serve(answering=lambda request: answer(request, bird)) as url,
        serve(answering=lambda _: Answer(status=404)) as buckets,
    ):
        server = f"http://{PUBLIC_NAME}:{url.rpartition(':')[2]}"
        variables = {
            "STORAGE_EMULATOR_HOST": buckets,
            "AWS_ENDPOINT_URL": buckets,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

        @hostile(2000)
        @given(documents)
        def check(document: Any) -> None:
            shutil.rmtree(around, ignore_errors=True)
            folder = around / "job" / "inputs"
            try:
                inputs = JobInputs.model_validate(placed(document, server, bird))
            except ValidationError as error:
                outcomes["not valid"] += 1
                assert_keeps_secrets(faults_in_words(error))
                return
            try:
                found = asyncio.run(
                    fetch_inputs(inputs, folder, policy=POLICY, variables=variables)
                )
            except ComfyError as error:
                outcomes[failure_document(error)["error_type"]] += 1
                assert_is_sentence(error)
                assert not any(path.is_file() for path in around.rglob("*"))
            else:
                outcomes["fetched"] += bool(found)
                files = [path for path in around.rglob("*") if path.is_file()]
                assert {path.relative_to(folder).as_posix() for path in files} == set(found)

        check()
    assert bird.heard == []
    assert min(outcomes[kind] for kind in KINDS) >= 50, outcomes
