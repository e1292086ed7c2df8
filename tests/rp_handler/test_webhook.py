from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from comfy_errors import InvalidInputError
from rp_handler.webhook import (
    Webhooks,
    WebhookSettings,
    webhook_client,
    webhook_settings,
)
from tests.http_server import Answer, Request, redirect, serve
from tests.loopback_canary import canary

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
RESULT = {"images": [{"filename": "ä.png", "type": "base64", "data": "AAAA"}]}
WAITS_S = (0.0, 0.05, 0.05)


def deliver(
    settings: WebhookSettings,
    *results: tuple[str, str | None, dict[str, Any]],
    allows_private: bool = True,
    waits_s: tuple[float, ...] = WAITS_S,
) -> list[str]:
    """Posts results, as `Webhooks.post` takes them; returns what was said."""
    said: list[str] = []

    async def run() -> None:
        client = partial(webhook_client, allows_private=allows_private)
        async with Webhooks(settings, client, said.append) as webhooks:
            for result in results:
                webhooks.post(*result)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rp_handler.webhook._WAITS_S", waits_s)
        asyncio.run(run())
    return said


def answers(*statuses: int) -> tuple[list[Request], Callable[[Request], Answer]]:
    """What was asked, and a server that answers with each status in turn, then with the last."""
    asked: list[Request] = []

    def answer(request: Request) -> Answer:
        asked.append(request)
        return Answer(status=statuses[min(len(asked), len(statuses)) - 1])

    return asked, answer


def test_a_result_is_posted_with_a_signature_that_its_receiver_can_verify() -> None:
    asked, answer = answers(200)
    with serve(answering=answer) as url:
        said = deliver(WebhookSettings(secret=KEY), ("job-1", f"{url}/hook", RESULT))
    (request,) = asked
    assert said == []
    assert (request.method, request.path) == ("POST", "/hook")
    assert request.headers["Content-Type"] == "application/json"
    document = json.loads(request.body)
    assert document["type"] == "job.completed"
    assert document["data"] == {"id": "job-1", "output": RESULT}
    moment = request.headers["webhook-timestamp"]
    assert abs(time.time() - int(moment)) < 60
    signed = f"{request.headers['webhook-id']}.{moment}.".encode() + request.body
    expected = base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"


def test_a_failed_job_is_reported_as_one() -> None:
    asked, answer = answers(204)
    with serve(answering=answer) as url:
        deliver(WebhookSettings(url=url), ("j", None, {"error": "No.", "error_type": "timeout"}))
    assert json.loads(asked[0].body)["type"] == "job.failed"
    assert asked[0].headers["webhook-signature"] is None


def test_what_is_taken_out_of_a_result_later_is_posted_all_the_same() -> None:
    """RunPod's SDK takes the error out of the document that it is given."""
    asked, answer = answers(200)

    async def run(url: str) -> None:
        client = partial(webhook_client, allows_private=True)
        async with Webhooks(WebhookSettings(url=url), client, print) as webhooks:
            result = {"error": "no"}
            webhooks.post("job-1", None, result)
            del result["error"]

    with serve(answering=answer) as url:
        asyncio.run(run(url))
    document = json.loads(asked[0].body)
    assert (document["type"], document["data"]["output"]) == ("job.failed", {"error": "no"})


def test_the_address_of_a_job_takes_precedence_and_without_any_nothing_is_sent() -> None:
    asked, answer = answers(200)
    with serve(answering=answer) as url:
        deliver(WebhookSettings(url=f"{url}/ours"), ("j", f"{url}/its", RESULT))
        deliver(WebhookSettings(), ("j", None, RESULT))
    assert [request.path for request in asked] == ["/its"]


def test_a_server_that_fails_is_asked_again_with_the_same_message() -> None:
    asked, answer = answers(503, 500, 200)
    with serve(answering=answer) as url:
        said = deliver(WebhookSettings(), ("j", url, RESULT))
    assert said == []
    assert len({request.body for request in asked}) == 1
    assert [request.headers["webhook-id"] for request in asked] == ["j"] * 3


@pytest.mark.parametrize(("status", "attempts"), [(500, 3), (410, 1)])
def test_what_cannot_be_delivered_is_said(status: int, attempts: int) -> None:
    asked, answer = answers(status)
    with serve(answering=answer) as url:
        said = deliver(WebhookSettings(), ("j", f"{url}/?token=abcdef", RESULT))
    assert len(asked) == attempts
    assert len(said) == 1
    assert said[0].startswith("Warning: the result of job j was not delivered to the webhook http")
    assert said[0].endswith(f": it answered {status}.")


def test_a_redirect_is_not_followed() -> None:
    asked, answer = answers(200)
    with serve(answering=answer) as url, serve(answering=lambda _: redirect(url)) as first:
        said = deliver(WebhookSettings(), ("j", first, RESULT))
    assert asked == []
    assert said[0].endswith(": it answered 302.")


def test_a_job_cannot_have_a_private_address_asked() -> None:
    with canary() as bird:
        results = [("j", url, RESULT) for url in bird.urls()]
        said = deliver(WebhookSettings(), *results, allows_private=False)
    assert bird.heard == []
    assert len(said) == len(results)


def test_the_worker_does_not_wait_for_a_silent_server() -> None:
    # The system accepts connections, but nothing answers.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        said = deliver(WebhookSettings(), ("j", url, RESULT))
    assert [line.rpartition(": ")[2] for line in said] == ["the worker ended."]


def test_results_that_pile_up_are_given_up_from_the_oldest_on() -> None:
    with serve(answering=lambda _: Answer(status=503)) as url:
        results = [(f"j{number}", url, RESULT) for number in range(105)]
        said = deliver(WebhookSettings(), *results, waits_s=(60.0,))
    assert [line.split()[5] for line in said[:5]] == [f"j{number}" for number in range(5)]
    assert all("too many others wait" in line for line in said[:5])
    assert len(said) == 105


def test_the_environment_sets_address_and_secret() -> None:
    settings = webhook_settings(
        {"COMFY_WEBHOOK_URL": "https://example.org/x", "COMFY_WEBHOOK_SECRET": SECRET}
    )
    assert settings == WebhookSettings(url="https://example.org/x", secret=KEY)
    assert SECRET not in repr(settings)
    assert "secret" not in repr(settings)
    assert webhook_settings({}) == WebhookSettings()


@pytest.mark.parametrize(
    "secret", ["whsec_", "whsec_AAAA", "not a secret", "whsec_é", "whsec_" + "A" * 200]
)
def test_another_secret_is_refused_without_printing_it(secret: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        webhook_settings({"COMFY_WEBHOOK_SECRET": secret})
    assert secret.removeprefix("whsec_") not in caught.value.message or secret == "whsec_"
    assert "openssl rand" in (caught.value.remedy or "")


@pytest.mark.parametrize("url", ["example.org", "ftp://example.org", "https://", "http://[1"])
def test_an_address_that_cannot_be_posted_to_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError, match="COMFY_WEBHOOK_URL is"):
        webhook_settings({"COMFY_WEBHOOK_URL": url})
