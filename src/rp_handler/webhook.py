"""Posts the results of jobs to a webhook, signed by the Standard Webhooks scheme (version 1 of
https://www.standardwebhooks.com), in the background.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from comfy_errors import ComfyError, InvalidInputError, UnavailableError
from comfy_http.redaction import without_secrets
from comfy_http.settings import NetworkSettings
from rp_handler.interruption import in_thread

if TYPE_CHECKING:
    from comfy_http.client import HttpClient

URL = "COMFY_WEBHOOK_URL"
SECRET = "COMFY_WEBHOOK_SECRET"
_SECRET_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)
_SILENCE_S = 15.0
# Before each attempt.
_WAITS_S = (0.0, 2.0, 10.0, 30.0, 120.0, 300.0)
_AT_ONCE = 4
# Of results that wait to be delivered. The oldest are given up for newer ones.
_WAITING, _WAITING_BYTES = 100, 100_000_000
# When the worker ends, which has 4.5 seconds for everything.
_GRACE_S = 1.0
_GONE = 410
_REMEDY = "Check the address and the server of the webhook."


@dataclass(frozen=True, kw_only=True)
class WebhookSettings:
    """`url` gets the results of jobs that name none. `secret` is the key that messages are signed
    with; without one they are not signed.
    """

    url: str | None = None
    secret: bytes | None = field(default=None, repr=False)


def webhook_settings(variables: Mapping[str, str]) -> WebhookSettings:
    """What the environment's variables set. Raises InvalidInputError."""
    url = variables.get(URL) or None
    if url is not None and not is_webhook_url(url):
        raise InvalidInputError(
            f'{URL} is "{without_secrets(url)}".',
            remedy="Set it to an address that starts with https:// or http://.",
        )
    return WebhookSettings(url=url, secret=_secret(variables.get(SECRET, "")))


def is_webhook_url(url: str) -> bool:
    """True for an address that can be posted to."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _secret(text: str) -> bytes | None:
    if not text:
        return None
    try:
        secret = base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    except ValueError:
        secret = b""
    if len(secret) not in _SECRET_BYTES:
        raise InvalidInputError(
            f"{SECRET} is not the secret of a webhook.",
            remedy=f'Set it to "{_SECRET_PREFIX}" and 24 to 64 random bytes in base64, such as '
            f"$(echo {_SECRET_PREFIX}$(openssl rand -base64 32)).",
        )
    return secret


@dataclass(kw_only=True, eq=False)
class _Message:
    job_id: str
    url: str
    is_from_job: bool
    body: bytes = b""


class Webhooks:
    """Delivers messages while the block lasts, and for a moment after it: `async with Webhooks(…)`.

    `client` makes the client for a message; its argument is true if a job named the address. `say`
    gets a line about each message that could not be delivered.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        client: Callable[[bool], HttpClient],
        say: Callable[[str], None],
    ) -> None:
        self._settings, self._client, self._say = settings, client, say
        self._waiting: deque[_Message] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def __aenter__(self) -> Webhooks:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_GRACE_S)
        for task in self._tasks:
            task.cancel()
        for message in self._waiting:
            self._give_up(message, "the worker ended")

    def post(self, job_id: str, url: str | None, result: Mapping[str, Any]) -> None:
        """Posts the result of a job, to `url` or to the address of the settings, if there is one.

        Returns at once.
        """
        target = url or self._settings.url
        if target is None:
            return
        message = _Message(job_id=job_id, url=target, is_from_job=url is not None)
        self._waiting.append(message)
        # A copy: RunPod's SDK takes keys out of the result that it is given.
        task = asyncio.create_task(self._deliver(message, {**result}))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, message: _Message, result: Mapping[str, Any]) -> None:
        # It may have many megabytes.
        message.body = await in_thread(lambda: _body(message.job_id, result))
        self._drop_oldest()
        reason = await self._attempt(message)
        if message in self._waiting:
            self._waiting.remove(message)
            if reason is not None:
                self._give_up(message, reason)

    async def _attempt(self, message: _Message) -> str | None:
        """Why the message could not be delivered; None once it was, or was given up."""
        reason = None
        for wait_s in _WAITS_S:
            await asyncio.sleep(wait_s)
            if message not in self._waiting:
                return None
            try:
                async with self._turns:
                    status = await in_thread(lambda: self._send(message))
            except UnavailableError as error:
                reason = error.message
            except ComfyError as error:
                return error.message
            else:
                if 200 <= status < 300:
                    return None
                reason = f"it answered {status}"
                if status == _GONE:
                    return reason
        return reason

    def _drop_oldest(self) -> None:
        while len(self._waiting) > _WAITING or (
            len(self._waiting) > 1 and sum(len(one.body) for one in self._waiting) > _WAITING_BYTES
        ):
            self._give_up(self._waiting.popleft(), "too many others wait")

    def _send(self, message: _Message) -> int:
        import requests

        client = self._client(message.is_from_job)
        moment = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message.job_id,
            "webhook-timestamp": moment,
        }
        if self._settings.secret is not None:
            signed = b".".join((message.job_id.encode(), moment.encode(), message.body))
            digest = hmac.digest(self._settings.secret, signed, hashlib.sha256)
            headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
        try:
            with (
                client.session() as session,
                client.send(
                    session,
                    "POST",
                    message.url,
                    headers=headers,
                    body=message.body,
                    stream=True,
                    follow=False,
                ) as response,
            ):
                return response.status_code
        except (requests.RequestException, ValueError) as error:
            raise client.unreachable(message.url, error) from error

    def _give_up(self, message: _Message, reason: str) -> None:
        self._say(
            f"Warning: the result of job {message.job_id} was not delivered to the webhook "
            f"{without_secrets(message.url)}: {reason}."
        )


def _body(job_id: str, result: Mapping[str, Any]) -> bytes:
    kind = "job.failed" if "error" in result else "job.completed"
    moment = datetime.now(UTC).isoformat()
    document = {"type": kind, "timestamp": moment, "data": {"id": job_id, "output": result}}
    return json.dumps(document, ensure_ascii=False).encode()


def webhook_client(is_from_job: bool, *, allows_private: bool) -> HttpClient:
    """The client for a message: what a job names has to be a public address, unless
    `allows_private`; what the environment names may be any.
    """
    from comfy_http.guarded import GuardedClient

    return GuardedClient(
        settings=NetworkSettings(timeout_s=_SILENCE_S),
        remedy=_REMEDY,
        retries=0,
        allows_private=allows_private or not is_from_job,
    )
