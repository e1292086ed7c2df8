"""Models of jobs from real servers: fetched once, verified, or refused in one sentence."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import ComfyError, InvalidInputError
from comfy_files.parallel import give_up_with
from comfy_home.manifest import ManifestModel
from comfy_models.store import MEMORY_NAME
from comfy_models.verify import HashMemory
from rp_handler.errors import InputFetchError
from rp_handler.inputs.policy import InputPolicy
from rp_handler.job_models.document import JobModel
from rp_handler.job_models.fetch import Brought, ModelFetch
from rp_handler.job_models.policy import ModelPolicy
from tests.full_disk import nearly_full
from tests.http_server import Answer, Request, ranged, redirect, serve
from tests.loopback_canary import PUBLIC_NAME, canary, resolve_public_name
from tests.model_downloads import Served, cut_after, files_in, serving
from tests.model_hosts.every_kind import KINDS, offered
from tests.safetensors_bytes import safetensors

CONTENT = safetensors(b"a model" * 1000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = safetensors(b"another")
PATH = "loras/x.safetensors"


def model(source: str, path: str = PATH, sha256: str | None = None) -> JobModel:
    return JobModel(source=source, target_path=path, sha256=sha256)


@contextmanager
def brought(fetch: ModelFetch, *models: JobModel) -> Iterator[Brought]:
    found = fetch.bring(models)
    try:
        yield found
    finally:
        found.close()


def contents(found: Brought) -> dict[str, bytes]:
    return {path: file.read_bytes() for path, file in found.files.items()}


def refusal(fetch: ModelFetch, *models: JobModel) -> ComfyError:
    with pytest.raises(ComfyError) as caught:
        fetch.bring(models)
    error = caught.value
    assert error.message.isprintable()
    assert "spec" not in error.remedy
    return error


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "file"])
def test_a_model_of_every_kind_of_host_is_fetched_once(
    kind: str, fetch: ModelFetch, tmp_path: Path
) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(CONTENT)
    hosts = ("huggingface.co", "civitai.com", "gs://models", "s3://models", "127.0.0.1")
    with offered(kind, file, tmp_path / "host") as offer:
        fetch = replace(
            fetch,
            policy=ModelPolicy(hosts=hosts, limit_bytes=10**6),
            variables={**fetch.variables, **offer.variables},
        )
        for _ in range(2):
            with brought(fetch, model(offer.url)) as found:
                assert contents(found) == {PATH: CONTENT}
                assert found.digests == {PATH: SHA256}
                assert found.by_name == {("loras", "x.safetensors"): SHA256}
        # To learn what the host has, a byte or the start may be read again.
        assert offer.sent_bytes() < 2 * len(CONTENT)


def test_with_a_sha256_a_known_file_is_used_without_asking(fetch: ModelFetch) -> None:
    served = Served(content=CONTENT)
    with serving(x=served) as url:
        one = model(f"{url}/x", sha256=SHA256)
        with brought(fetch, one), brought(fetch, one) as again:
            asked = len(served.requests)
            assert contents(again) == {PATH: CONTENT}
        other = model("http://127.0.0.1:1/gone", "clip/y.safetensors", SHA256)
        with brought(fetch, other) as elsewhere:
            assert contents(elsewhere) == {"clip/y.safetensors": CONTENT}
    assert len(served.requests) == asked


def test_a_changed_file_is_fetched_again(fetch: ModelFetch) -> None:
    served = Served(content=CONTENT)
    with serving(x=served) as url:
        with brought(fetch, model(f"{url}/x")) as found:
            assert contents(found) == {PATH: CONTENT}
        served.content, served.etag = OTHER, '"2"'
        with brought(fetch, model(f"{url}/x")) as found:
            assert contents(found) == {PATH: OTHER}


def test_a_broken_download_is_resumed(fetch: ModelFetch) -> None:
    content = safetensors(bytes(700_000))

    def fault(_request: Request, answer: Answer, number: int) -> Answer:
        return cut_after(answer, 500_000) if number == 2 else answer

    served = Served(content=content, fault=fault)
    with serving(x=served) as url, brought(fetch, model(f"{url}/x")) as found:
        assert contents(found) == {PATH: content}
    assert "bytes=500000-" in [it and it.rpartition("-")[0] + "-" for it in served.ranges]


def test_another_sha256_than_the_stated_one_is_refused(fetch: ModelFetch) -> None:
    with serving(x=Served(content=CONTENT)) as url:
        error = refusal(fetch, model(f"{url}/x", sha256="ab" * 32))
    assert isinstance(error, InputFetchError)
    assert f"models[0].source: the file has the sha256 {SHA256}, not abab" in error.message
    assert not error.retryable


@pytest.mark.parametrize(
    ("answer", "fault", "retryable"),
    [
        (Answer(status=404), "answered 404", False),
        (Answer(status=403), "refuses access", False),
        (Answer(status=503, headers={"Retry-After": "9999"}), "answered 503", True),
        (Answer(body=b"<!doctype html><title>Log in</title>"), "is a web page", False),
        (Answer(body=b'{"error": "no"}'), "is a JSON text", False),
        (Answer(body=b"PK\x03\x04" + bytes(99)), "is a zip file, as PyTorch saves", False),
        (Answer(body=b"\x80\x02}q\x00." + bytes(99)), "is a pickled checkpoint", False),
        (Answer(body=CONTENT[:-1]), "its end is missing", False),
        (Answer(body=b""), "is empty", False),
    ],
)
def test_what_is_not_a_model_is_refused_and_not_kept(
    fetch: ModelFetch, answer: Answer, fault: str, *, retryable: bool
) -> None:
    with serve(answering=lambda _: answer) as url:
        error = refusal(fetch, model(f"{url}/x"))
    assert isinstance(error, InputFetchError)
    assert error.error_type == "input_fetch_failed"
    assert "models[0].source: " in error.message
    assert fault in error.message
    assert error.retryable == retryable
    assert error.remedy
    assert not list(fetch.kept.store.root.glob("sha256/*/*"))


def test_a_known_file_under_a_name_of_another_format_is_refused(fetch: ModelFetch) -> None:
    content = b"GGUF" + bytes(100)
    with serving(x=Served(content=content)) as url:
        with brought(fetch, model(f"{url}/x", "loras/x.gguf")):
            pass
        error = refusal(fetch, model(f"{url}/x", sha256=hashlib.sha256(content).hexdigest()))
    assert "is a GGUF file, not a safetensors file" in error.message


def test_every_fault_is_named(fetch: ModelFetch) -> None:
    with (
        serving(x=Served(content=CONTENT)) as url,
        serve(answering=lambda _: Answer(status=404)) as gone,
    ):
        error = refusal(
            fetch,
            model(f"{url}/x", "loras/a.sft"),
            model(f"{gone}/b", "loras/b.sft"),
            model(f"{gone}/c", "loras/c.sft"),
        )
    assert error.message.count("could not be read") == 2
    assert "models[1].source: " in error.message
    assert "models[2].source: " in error.message
    assert isinstance(error, InputFetchError)
    assert error.details["inputs"] == ["models[1].source", "models[2].source"]


@pytest.mark.parametrize("says_size", [True, False])
def test_a_model_that_is_too_large_is_refused(fetch: ModelFetch, *, says_size: bool) -> None:
    content = safetensors(bytes(fetch.policy.limit_bytes))
    chunked = Answer(headers={"Transfer-Encoding": "chunked"}, body=content)
    served = Served(content=content)
    with (
        serving(x=served) as url,
        serve(answering=lambda _: chunked) as other,
    ):
        error = refusal(fetch, model(f"{url if says_size else other}/x"))
    assert isinstance(error, InvalidInputError)
    assert "models[0].source: is larger than 1" in error.message
    assert "COMFY_JOB_MODELS_GB" in error.message
    assert len(served.requests) == says_size
    assert files_in(fetch.kept.store.root) == []


def test_models_that_are_too_large_together_are_refused(fetch: ModelFetch) -> None:
    content = safetensors(bytes(fetch.policy.limit_bytes * 2 // 3))
    with serving(a=Served(content=content), b=Served(content=content)) as url:
        wanted = [model(f"{url}/{name}", f"loras/{name}.sft") for name in "ab"]
        error = refusal(fetch, *wanted)
    assert "'models' together are larger than 1" in error.message


def test_a_new_model_makes_room_and_those_of_the_job_stay(fetch: ModelFetch) -> None:
    third = fetch.policy.limit_bytes * 2 // 5
    files = {name: Served(content=safetensors(name.encode() * third)) for name in "abc"}
    with serving(**files) as url:
        one, two, three = (model(f"{url}/{name}", f"loras/{name}.sft") for name in "abc")
        with brought(fetch, one), brought(fetch, two):
            pass
        with brought(fetch, one, three) as found:
            assert set(found.files) == {"loras/a.sft", "loras/c.sft"}
            assert all(file.is_file() for file in found.files.values())
        assert [it["path"] for it in fetch.kept.listing()] == ["loras/a.sft", "loras/c.sft"]


def test_the_same_model_twice_counts_once_and_two_files_of_one_name_are_refused(
    fetch: ModelFetch,
) -> None:
    with serving(x=Served(content=CONTENT), y=Served(content=OTHER)) as url:
        x, y = model(f"{url}/x"), model(f"{url}/y")
        with brought(fetch, x, x) as found:
            assert contents(found) == {PATH: CONTENT}
        assert "models[0].target_path have one name" in refusal(fetch, x, y).message
        clip, encoder = (model(f"{url}/x", f"{name}/x.sft") for name in ("clip", "text_encoders"))
        assert "have one name" in refusal(fetch, clip, encoder).message
        inner = model(f"{url}/x", f"{PATH}/y.sft")
        assert "is the folder of the other" in refusal(fetch, x, inner).message


def own(fetch: ModelFetch, content: bytes, *, is_verified: bool = True) -> Path:
    """A model of the version, at PATH."""
    file = fetch.home.models / PATH
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    if is_verified:
        sha256 = hashlib.sha256(content).hexdigest()
        HashMemory([fetch.home.models / MEMORY_NAME]).keep(file, sha256)
    return file


@pytest.mark.parametrize("stated", [True, False])
def test_the_versions_own_model_is_used_if_it_is_the_same_file(
    fetch: ModelFetch, tmp_path: Path, *, stated: bool
) -> None:
    file = own(fetch, CONTENT)
    copy = tmp_path / "x.safetensors"
    copy.write_bytes(CONTENT)
    with offered("hf", copy, tmp_path / "host") as offer:
        fetch = replace(
            fetch,
            policy=ModelPolicy(hosts=("huggingface.co",)),
            variables={**fetch.variables, **offer.variables},
        )
        one = model(offer.url, sha256=SHA256 if stated else None)
        with brought(fetch, one) as found:
            assert found.files == {}
            assert found.digests == {}
        assert offer.sent_bytes() == 0
    assert file.read_bytes() == CONTENT


def test_another_file_under_the_name_of_the_versions_own_is_refused(fetch: ModelFetch) -> None:
    file = own(fetch, OTHER)
    with serving(x=Served(content=CONTENT)) as url:
        error = refusal(fetch, model(f"{url}/x", sha256=SHA256))
        assert isinstance(error, InvalidInputError)
        assert (
            f"models[0].target_path: is the name of the worker's own model {PATH}, which is "
            "another file" in error.message
        )
        unknown = refusal(fetch, model(f"{url}/x"))
    assert "whether it is the same file is not known" in unknown.message
    assert f"the worker's own has {hashlib.sha256(OTHER).hexdigest()}" in unknown.remedy
    assert file.read_bytes() == OTHER


def test_what_the_version_lacks_here_may_only_be_brought_as_it_is(fetch: ModelFetch) -> None:
    missing = ManifestModel(target_path=PATH, sha256=SHA256, size=len(CONTENT))
    manifest = fetch.home.manifest.model_copy(update={"models": [missing]})
    fetch = replace(fetch, home=replace(fetch.home, manifest=manifest))
    with serving(x=Served(content=CONTENT), y=Served(content=OTHER)) as url:
        stated = model(f"{url}/y", sha256=hashlib.sha256(OTHER).hexdigest())
        assert "which is another file" in refusal(fetch, stated).message
        assert f"not {SHA256}" in refusal(fetch, model(f"{url}/y")).message
        with brought(fetch, model(f"{url}/x")) as found:
            assert contents(found) == {PATH: CONTENT}


def test_a_file_that_people_put_there_is_not_replaced(fetch: ModelFetch) -> None:
    own(fetch, CONTENT, is_verified=False)
    with serving(x=Served(content=CONTENT)) as url:
        error = refusal(fetch, model(f"{url}/x", sha256=SHA256))
    assert "which is another file" in error.message


def test_hosts_that_are_not_listed_are_not_asked(fetch: ModelFetch) -> None:
    served = Served(content=CONTENT)
    with serving(x=served) as url:
        fetch = replace(fetch, policy=ModelPolicy(hosts=("huggingface.co",)))
        error = refusal(fetch, model(f"{url}/x"))
    assert isinstance(error, InvalidInputError)
    assert "models[0].source: models from 127.0.0.1 are not allowed here" in error.message
    assert "COMFY_JOB_MODELS" in error.remedy
    assert served.requests == []


def test_a_listed_host_may_send_us_to_another_one_but_not_into_our_own_network(
    fetch: ModelFetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_public_name(monkeypatch)
    target = ""

    def answer(request: Request) -> Answer:
        whole = ranged(request, CONTENT, etag='"1"')
        return redirect(target) if request.path.startswith("/to") else whole

    fetch = replace(
        fetch,
        policy=ModelPolicy(hosts=(PUBLIC_NAME,)),
        inputs=InputPolicy(silence_s=5),
    )
    with canary() as bird, serve(answering=answer) as url:
        server = f"http://{PUBLIC_NAME}:{url.rpartition(':')[2]}"
        target = f"{server}/file"
        with brought(fetch, model(f"{server}/to")) as found:
            assert contents(found) == {PATH: CONTENT}
        for target in bird.urls():
            error = refusal(fetch, model(f"{server}/to?{target}"))
            assert "models[0].source: " in error.message
        listed = replace(fetch, policy=ModelPolicy(hosts=("localhost", "127.0.0.1")))
        error = refusal(listed, model(f"http://localhost:{bird.port}/x"))
        assert isinstance(error, InvalidInputError)
        assert "is not an address of the public internet" in error.message
        assert "COMFY_INPUT_PRIVATE_ADDRESSES" in error.remedy
        assert bird.heard == []


@pytest.mark.parametrize("kind", ["hf", "civitai"])
def test_hubs_are_guarded_too(kind: str, fetch: ModelFetch, tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(CONTENT)
    with offered(kind, file, tmp_path / "host") as offer:
        fetch = replace(
            fetch,
            policy=ModelPolicy(hosts=("huggingface.co", "civitai.com")),
            inputs=InputPolicy(silence_s=5),
            variables={**fetch.variables, **offer.variables},
        )
        error = refusal(fetch, model(offer.url))
        assert "is not an address of the public internet" in error.message
        assert offer.sent_bytes() == 0


def test_a_missing_token_is_named(fetch: ModelFetch, tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(CONTENT)
    with offered("hf", file, tmp_path / "host") as offer:
        variables = {**fetch.variables, "HF_ENDPOINT": offer.variables["HF_ENDPOINT"]}
        fetch = replace(fetch, policy=ModelPolicy(hosts=("huggingface.co",)), variables=variables)
        error = refusal(fetch, model(offer.url))
    assert "is gated" in error.message
    assert "HF_TOKEN" in error.remedy


def test_a_cancelled_fetch_ends_and_is_continued_later(fetch: ModelFetch) -> None:
    content = safetensors(bytes(700_000))
    served = Served(content=content, held_at=200_000)
    cancelled = threading.Event()
    ended: list[Any] = []

    def work() -> None:
        give_up_with(cancelled)
        try:
            ended.append(fetch.bring([model(f"{url}/x")]))
        except BaseException as error:
            ended.append(error)

    with serving(x=served) as url:
        thread = threading.Thread(target=work)
        thread.start()
        while served.sent_bytes < 200_000:
            threading.Event().wait(0.01)
        cancelled.set()
        thread.join(30)
        assert [type(one) for one in ended] == [KeyboardInterrupt]
        served.held_at = None
        served.release.set()
        with brought(fetch, model(f"{url}/x")) as found:
            assert contents(found) == {PATH: content}


def test_a_full_disk_may_be_another_workers_luck(
    fetch: ModelFetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearly_full(monkeypatch, free_bytes=100_000)
    with serving(x=Served(content=safetensors(bytes(500_000)))) as url:
        error = refusal(fetch, model(f"{url}/x"))
    assert isinstance(error, InputFetchError)
    assert "more than there is room for" in error.message
    assert error.retryable


def test_one_source_under_two_names_is_fetched_once(fetch: ModelFetch) -> None:
    served = Served(content=CONTENT)
    with serving(x=served) as url:
        one, two = model(f"{url}/x"), model(f"{url}/x", "clip/y.sft")
        with brought(fetch, one, two) as found:
            assert contents(found) == {PATH: CONTENT, "clip/y.sft": CONTENT}
    assert served.sent_bytes < 2 * len(CONTENT)
