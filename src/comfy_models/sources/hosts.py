"""How this machine reaches the hosts of models: endpoints, tokens, the HTTP client."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from comfy_errors import InvalidInputError
from comfy_files.progress import Say, say_nothing
from comfy_http.redaction import without_secrets
from comfy_http.retries import Questions

if TYPE_CHECKING:
    import requests

    from comfy_http.client import HttpClient
    from comfy_models.sources.buckets.google_login import GoogleLogin
    from comfy_models.sources.buckets.s3_signing import S3Signing

SILENCE_S = 120.0
"""A host that sends nothing for this long is given up; `--timeout` sets it."""
_SILENCE_OF_ANSWERS_S = 30.0
_TOKEN = re.compile(r"[!-~]*")
_HTTP_URL = re.compile(r"https?://[^/?#\s]+(/\S*)?", re.IGNORECASE)
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """`variables` are the environment's, `client` the HTTP client, `say` tells of long waits.

    `base_dir` is what relative paths are based on.
    """

    client: HttpClient
    base_dir: Path
    variables: Mapping[str, str] = field(repr=False)
    say: Say = say_nothing
    questions: Questions = field(default_factory=Questions, repr=False)

    @cached_property
    def asking(self) -> Hosts:
        """The same hosts for questions, with less patience: their answers are short."""
        silence_s = min(self.timeout_s, _SILENCE_OF_ANSWERS_S)
        settings = replace(self.client.settings, timeout_s=silence_s)
        return replace(self, client=replace(self.client, settings=settings))

    def answer(self, step: Callable[[], _T], *, url: str) -> _T:
        """The result of `step`, a question to the server of `url`, which is repeated if that may
        help; a long wait is said.
        """
        return self.questions.answer(step, url=url, say=self.say)

    @property
    def timeout_s(self) -> float:
        return self.client.settings.timeout_s or SILENCE_S

    @cached_property
    def session(self) -> requests.Session:
        """One session for all hosts, with room for many connections to each."""
        return self.client.session()

    @cached_property
    def google(self) -> GoogleLogin:
        from comfy_models.sources.buckets.google_login import GoogleLogin

        return GoogleLogin(self)

    @cached_property
    def s3(self) -> S3Signing:
        from comfy_models.sources.buckets.s3_signing import S3Signing

        return S3Signing(self)


def plain_token(token: str, place: str) -> str:
    """The token without spaces around it; `place` is the variable or file that has it.

    Raises InvalidInputError if it cannot be sent.
    """
    if _TOKEN.fullmatch(plain := token.strip()):
        return plain
    raise InvalidInputError(
        f"{place} has a token with a line break, a space or another character that no token has",
        remedy=f"Correct {place}.",
    )


def endpoint_of(variables: Mapping[str, str], name: str, usual: str) -> str:
    """The address of a service that the variable `name` has, else the `usual` one, without a slash
    at its end. Raises InvalidInputError if it is not that of a web server.
    """
    url = (variables.get(name) or usual).rstrip("/")
    if not _HTTP_URL.fullmatch(url):
        raise InvalidInputError(
            f"{name} is '{without_secrets(url)}', which is not an HTTP URL",
            remedy=f"Unset it, or use a URL such as {usual}.",
        )
    return url


def hosts_for(
    client: HttpClient,
    base_dir: Path,
    variables: Mapping[str, str],
    *,
    timeout_s: float | None = None,
    say: Say = say_nothing,
) -> Hosts:
    """The hosts as `client` reaches them; a server may be silent for `timeout_s` seconds."""
    silence_s = timeout_s or client.settings.timeout_s or SILENCE_S
    patient = replace(client, settings=replace(client.settings, timeout_s=silence_s), retries=0)
    return Hosts(client=patient, base_dir=base_dir, variables=variables, say=say)
