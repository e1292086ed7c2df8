"""Whatever models a job asks for: they are there, or one sentence says why not."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from comfy_errors import ComfyError
from comfy_files.json_faults import faults_in_words
from rp_handler.errors import failure_document
from rp_handler.inputs.policy import InputPolicy
from rp_handler.job_models.document import JobModel
from rp_handler.job_models.fetch import ModelFetch
from rp_handler.job_models.kept import KeptModels
from rp_handler.job_models.policy import ModelPolicy
from rp_handler.job_models.view import ModelView
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
from tests.safetensors_bytes import safetensors

# It takes a minute.
pytestmark = pytest.mark.slow

CONTENT = safetensors(b"a model")
KINDS = ("brought", "not valid", "invalid_input", "input_fetch_failed")
# Replaced by the servers of the test.
SERVER, BIRD = "SERVER", "BIRD"
_RANDOM = random.Random(1)

_well_formed_sources = st.one_of(
    st.sampled_from(["whole", "whole", "whole2", "cut", "gone", "page", "pickle", "to"]).map(
        f"{SERVER}/{{}}".format
    ),
    st.integers(0, 15).map(f"{BIRD}/{{}}".format),
    st.tuples(st.sampled_from(["gs://bucket", "s3://bucket", "gs://other"]), texts).map("/".join),
    st.sampled_from(["hf://org/name/x.safetensors", "civitai://2", "https://elsewhere.test/x"]),
)
_folders = st.sampled_from(["loras", "loras", "clip", "text_encoders", "unknown", "custom_nodes"])
_names = st.sampled_from(["x.safetensors", "y.sft", "a/x.gguf", "x.safetensors/y.sft"])
_paths = st.tuples(_folders, _names).map("/".join)
_hostile_paths = st.one_of(
    texts, st.tuples(st.just("loras"), texts, st.just("x.safetensors")).map("/".join)
)
_sha256s = st.sampled_from([hashlib.sha256(CONTENT).hexdigest(), "ab" * 32])
_well_formed = st.fixed_dictionaries(
    {"source": _well_formed_sources, "target_path": _paths}, optional={"sha256": _sha256s}
)
_others = st.fixed_dictionaries(
    {"source": addresses | _well_formed_sources, "target_path": _hostile_paths | _paths},
    optional={"sha256": texts},
)
_right = st.fixed_dictionaries(
    {
        "source": st.sampled_from([f"{SERVER}/whole", f"{SERVER}/whole2"]),
        "target_path": st.sampled_from(["loras/x.sft", "clip/a/y.safetensors", "loras/x.sft"]),
    }
)
documents = st.one_of(
    st.lists(_right, min_size=1, max_size=2),
    st.lists(_well_formed, min_size=1, max_size=1),
    st.lists(_well_formed, min_size=1, max_size=2),
    st.lists(_others, min_size=1, max_size=2),
    st.lists(_others | values, max_size=2),
)


class Document(BaseModel):
    models: list[JobModel]


@pytest.fixture
def bird() -> Iterator[Canary]:
    with canary() as bird:
        yield bird


def answer(request: Request, bird: Canary) -> Answer:
    kind = request.path.strip("/")
    if kind == "to":
        return redirect(_RANDOM.choice(bird.urls()).encode().decode("latin-1"))
    answers = {
        "whole": Answer(body=CONTENT),
        "whole2": Answer(body=safetensors(b"two")),
        "cut": cut(CONTENT, 3),
        "page": Answer(headers={"Content-Type": "text/html"}, body=b"<html>"),
        "pickle": Answer(body=b"PK\x03\x04" + bytes(50)),
    }
    return answers.get(kind, Answer(status=404))


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
    fetch: ModelFetch, tmp_path: Path, bird: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_public_name(monkeypatch)
    take_no_time(monkeypatch)
    outcomes = Counter[str]()
    allowed = (PUBLIC_NAME, "*.test", "gs://bucket", "s3://bucket", "huggingface.co")
    local = ("localhost", "127.0.0.1", "127.1", "0", "0.0.0.0")
    view = ModelView(tmp_path / "view", ["loras", "clip", "text_encoders"])
    around = sorted(path for path in tmp_path.rglob("*") if "kept" not in path.parts)
    with (
        serve(answering=lambda request: answer(request, bird)) as url,
        serve(answering=lambda _: Answer(status=404)) as buckets,
    ):
        server = f"http://{PUBLIC_NAME}:{url.rpartition(':')[2]}"
        fetch = replace(
            fetch,
            policy=ModelPolicy(hosts=(*allowed, *local), limit_bytes=1000),
            inputs=InputPolicy(silence_s=2),
            variables={
                "HOME": str(tmp_path),
                "STORAGE_EMULATOR_HOST": buckets,
                "AWS_ENDPOINT_URL": buckets,
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "HF_TOKEN": f"hf_{SECRET}",
            },
        )

        @hostile(2000)
        @given(documents)
        def check(document: Any) -> None:
            root = tmp_path / "kept"
            shutil.rmtree(root, ignore_errors=True)
            kept = KeptModels(root, 1000)
            try:
                models = Document.model_validate({"models": placed(document, server, bird)}).models
            except ValidationError as error:
                outcomes["not valid"] += 1
                assert_keeps_secrets(faults_in_words(error))
                return
            try:
                found = replace(fetch, kept=kept).bring(models)
            except ComfyError as error:
                outcomes[failure_document(error)["error_type"]] += 1
                assert_is_sentence(error)
            else:
                outcomes["brought"] += bool(found.files)
                view.show(found.files)
                shown = {path for path in view.root.rglob("*") if path.is_symlink()}
                assert shown == {view.root / path for path in found.digests}
                assert all(file.is_relative_to(root) for file in found.files.values())
                found.close()
                view.show({})

        check()
    assert bird.heard == []
    left = sorted(path for path in tmp_path.rglob("*") if "kept" not in path.parts)
    assert left == around
    assert min(outcomes[kind] for kind in KINDS) >= 50, outcomes
