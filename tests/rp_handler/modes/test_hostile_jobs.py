"""Whatever a job says: the worker answers in the form of docs/contracts.md, and goes on."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_home.manifest import CheckReport, load_manifest, save_manifest
from rp_handler.check.run import main as check
from rp_handler.main import main
from rp_handler.modes.sdk import Answering
from tests.graphs import SAVE, node, write_graph
from tests.hostile_texts import addresses, hostile, texts, values
from tests.loopback_canary import Canary, canary, resolve_public_name
from tests.model_hosts.hostile import take_no_time

# An engine runs a part of the examples.
pytestmark = pytest.mark.slow

_SECRET = "secret-1"
# Replaced by an address of the canary.
_BIRD = "BIRD"
_FAILURES = frozenset(
    {
        *("invalid_input", "invalid_workflow", "missing_models", "missing_nodes"),
        *("input_fetch_failed", "execution_error", "timeout", "output_too_large"),
    }
)
_RESULT = {"images", "files", "text", "timings", "version", "warnings"}


def _any_of(*strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Each of them as often, which `st.one_of` does not do for those made of others."""
    return st.integers(0, len(strategies) - 1).flatmap(lambda number: strategies[number])


_urls = st.integers(0, 15).map(f"{_BIRD}/{{}}".format) | addresses
_links = st.tuples(st.sampled_from(["1", "2", "3", "9"]), st.integers(-1, 1)).map(list)
_inputs = _any_of(texts, texts, values, _links)
_shown = st.fixed_dictionaries(
    {"filename": texts, "subfolder": texts, "type": st.sampled_from(["output", "temp", "x"])}
)
_nodes = _any_of(
    st.builds(lambda text: node("FixtureText", text=text), _inputs),
    st.builds(lambda text: node("FixtureMode", text=text), st.sampled_from(["plain"]) | _inputs),
    st.builds(
        lambda ui: node("FixtureShow", ui=ui),
        _inputs | st.dictionaries(texts, st.lists(_shown | texts, max_size=2), max_size=2),
    ),
    st.builds(
        lambda content, prefix, key: node(
            "FixtureSave", content=content, prefix=prefix, suffix=".png", key=key
        ),
        texts | _links,
        st.sampled_from(["x", "x", "a/b", "../x"]),
        st.sampled_from(["images", "files"]) | texts,
    ),
    st.builds(
        lambda message: node("FixtureRaise", kind="ValueError", message=message), texts | _links
    ),
    st.builds(lambda kind, inputs: {"class_type": kind, "inputs": inputs}, texts, values),
    values,
)
_saving = st.builds(lambda text: {**SAVE, "2": node("FixtureText", text=text)}, st.text(max_size=3))
_graphs = _any_of(
    _saving,
    st.dictionaries(st.sampled_from(["1", "2", "3"]) | texts, _nodes, min_size=1, max_size=3),
)
_workflows = _any_of(
    _graphs, _graphs, _graphs, st.sampled_from(["example", "example.json", {}]), texts, values
)
_files = st.lists(
    st.fixed_dictionaries(
        {"name": texts}, optional={"image": _urls | texts, "url": _urls, "sha256": texts}
    ),
    max_size=2,
)
_reachable = st.just([{"name": "a.png", "url": "gs://bucket/a.png"}])
_set = st.dictionaries(st.sampled_from(["1.content", "2.text"]), texts, max_size=2)
_well_formed = st.fixed_dictionaries(
    {"workflow": _saving}, optional={"set": _set, "events": st.just(["progress"])}
)
_listed = st.fixed_dictionaries({"list": st.sampled_from(["nodes", "models", "workflows"])})
_documents = _any_of(
    *(_well_formed, _well_formed, _well_formed, _listed),
    st.fixed_dictionaries({"workflow": _graphs}),
    st.fixed_dictionaries({"workflow": _saving, "timeout": st.sampled_from([30, 0.001])}),
    st.fixed_dictionaries({"workflow": _saving, "files": _reachable}),
    st.fixed_dictionaries({"workflow": _workflows}),
    st.fixed_dictionaries(
        {"workflow": _workflows},
        optional={
            "set": st.dictionaries(st.sampled_from(["1.content", "2.text"]) | texts, values),
            "images": _files | values,
            "files": _files | values,
            "output": st.sampled_from(["base64", "gcs", "s3", "files"]) | values,
            "timeout": st.sampled_from([30, 0.001]) | values,
            "strict": st.booleans() | values,
            "strict_input": st.booleans() | values,
            "webhook": _urls | values,
            "events": st.lists(st.sampled_from(["progress", "outputs", "previews"])) | values,
            "convert": values
            | st.fixed_dictionaries({"format": st.just("webp") | texts, "quality": values}),
            "models": values
            | st.lists(st.fixed_dictionaries({"source": _urls, "target_path": texts}), max_size=1),
            "comfy_org_api_key": values,
        },
    ),
    st.dictionaries(texts, values, max_size=3),
    st.fixed_dictionaries({"list": values}),
    st.fixed_dictionaries({"workflow": _graphs}).map(json.dumps),
    texts,
    values,
)


@pytest.fixture
def checked_home(home: Path, tmp_path: Path) -> Path:
    """The home as an image has it: with a record of what its nodes are."""
    report = tmp_path / "report.json"
    python = str(home / ".venv/bin/python")
    assert check(["--home", str(home), "--python", python, "--report", str(report)]) == 0
    manifest = load_manifest(home)
    assert manifest is not None
    found = CheckReport.model_validate_json(report.read_text(encoding="utf-8"))
    save_manifest(home, manifest.model_copy(update={"check": found}))
    return home


def placed(value: Any, bird: Canary) -> Any:
    """`value` with the addresses of the canary."""
    if isinstance(value, dict):
        return {key: placed(each, bird) for key, each in value.items()}
    if isinstance(value, list):
        return [placed(each, bird) for each in value]
    if isinstance(value, str) and value.startswith(f"{_BIRD}/"):
        return bird.urls()[int(value.partition("/")[2])]
    return value


def kind_of(answer: dict[str, Any]) -> str:
    """What an answer is: a result, a list, or the type of a failure. It has the form for that."""
    # As RunPod's SDK sends it.
    text = json.dumps(answer, ensure_ascii=False).encode()
    if "error" in answer:
        assert answer.keys() >= {"error", "error_type", "retryable", "details"}
        # The end of a traceback has lines of its own.
        assert answer["error"].replace("\n", "").isprintable()
        assert 0 < len(answer["error"]) < 4000
        assert answer["error_type"] in _FAILURES
        assert isinstance(answer["retryable"], bool)
        assert isinstance(answer["details"], dict)
        assert "The worker failed" not in answer["error"]
        assert _SECRET.encode() not in text
        return str(answer["error_type"])
    if len(answer) == 1:
        assert answer.keys() <= {"nodes", "models", "workflows"}
        return "list"
    assert answer.keys() >= _RESULT
    for file in (*answer["images"], *answer["files"]):
        assert hashlib.sha256(base64.b64decode(file["data"])).hexdigest() == file["sha256"]
    assert all(isinstance(one["text"], str) for one in answer["text"])
    return "result"


class _Sdk:
    """In place of RunPod's SDK: `work` gets what answers a job, in a thread beside the worker."""

    def __init__(self, work: Callable[[Callable[[Any], Any]], object]) -> None:
        self._work = work

    async def serve(self, answer: Answering) -> int:
        loop = asyncio.get_running_loop()

        def answered(document: Any) -> Any:
            answering = answer({"id": "job", "input": document}, lambda _: None)
            return asyncio.run_coroutine_threadsafe(answering, loop).result(timeout=60)

        await asyncio.to_thread(self._work, answered)
        return 0

    def kill_heartbeat(self) -> None:
        pass


@pytest.fixture
def _in_an_image(checked_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "COMFY_BAKED_HOME": str(checked_home),
        "OUTPUT_MODE": "base64",
        "COMFY_INPUT_TIMEOUT_S": "2",
        "COMFY_INPUT_TOTAL_MB": "0.00006",
        # Nothing listens there.
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": _SECRET,
    }
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    (tmp_path / "workflows").mkdir()
    write_graph(tmp_path / "workflows/example.json", SAVE)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_in_an_image")
def test_any_job_is_answered_and_the_worker_goes_on(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    outcomes = Counter[str]()
    resolve_public_name(monkeypatch)
    take_no_time(monkeypatch)

    def work(answer: Callable[[Any], Any]) -> None:
        @hostile(2000)
        @given(_documents)
        def check_answer(document: Any) -> None:
            outcomes[kind_of(answer(placed(document, bird)))] += 1

        check_answer()
        last = answer({"workflow": SAVE})
        assert base64.b64decode(last["files"][0]["data"]) == b"hello"

    monkeypatch.setattr("rp_handler.modes.worker.Sdk", lambda _: _Sdk(work))
    with canary() as bird:
        assert main(["--rp_serve_api"]) == 0
    assert bird.heard == []
    said = capfd.readouterr().err
    assert said.count("Starting ComfyUI") == 1
    assert "Traceback" not in said
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    wanted = {"result": 500, "invalid_input": 300, "invalid_workflow": 50, "list": 3}
    wanted |= dict.fromkeys(("execution_error", "input_fetch_failed", "timeout"), 10)
    assert all(outcomes[kind] >= least for kind, least in wanted.items()), outcomes
