"""Keeps user names, passwords, tokens and keys out of messages and logs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

# Parameters of URLs, also after a `#`, that may be credentials, such as those of presigned URLs.
SECRET_PARAMETER = (
    r"[?&#][^=&#\s]*"
    r"(?:token|secret|passw|signature|credential|auth|api.?key|\bsig\b|\bkey\b)[^=&#\s]*="
)
# A login or a token: only git and ssh have users that are no secret.
_USER = re.compile(r"(?i)\b((?:https?|hf|huggingface|civitai|gs|s3)://)[^/\s@]+@")
_PASSWORD = re.compile(r"(://[^/\s:@]*):[^/\s@]+@")
# Tokens that a host repeats in what it answers: the Hugging Face Hub's, and any in a header.
_TOKEN = re.compile(r"\b(?:(hf_)[A-Za-z0-9]{30,}|(Bearer )\S+)")
_PARAMETER = re.compile(rf"({SECRET_PARAMETER})[^&#\s'\")]+", re.IGNORECASE)
# Variables of the environment whose values are secret, and those that only name a file.
_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSW|CREDENTIAL|(?:API|ACCESS|PRIVATE)_?KEY", re.IGNORECASE
)
_NAMES_A_FILE = re.compile(r"_(?:PATH|FILE|DIR)$|^GOOGLE_APPLICATION_CREDENTIALS$", re.IGNORECASE)
_LONGEST = 200

SHORTEST_SECRET = 8
"""Shorter values are words that any text may have, so they are not hidden."""


def secret_values(variables: Mapping[str, str]) -> list[str]:
    """The values of those variables whose names say that they are secret, the longest first: also
    each text in one that is JSON, such as the key of a service account.
    """
    found: set[str] = set()
    for name, value in variables.items():
        if _SECRET_NAME.search(name) and not _NAMES_A_FILE.search(name):
            found |= {value, *_secret_texts(value)}
    return sorted((it for it in found if len(it) >= SHORTEST_SECRET), key=len, reverse=True)


def _secret_texts(value: str) -> set[str]:
    """The values with a secret name in a JSON object; a key of several lines also line by line."""
    try:
        document = json.loads(value)
    except ValueError:
        return set()
    texts = document.items() if isinstance(document, dict) else ()
    secrets = {text for name, text in texts if isinstance(text, str) and "private_key" in name}
    return secrets | {line for text in secrets for line in text.splitlines()}


def without_secrets(text: str, values: Iterable[str] = ()) -> str:
    """`text` with the credentials of every URL in it, tokens, and `values`, replaced by `***`."""
    for value in values:
        text = text.replace(value, "***")
    text = _PASSWORD.sub(r"\1:***@", _USER.sub(r"\1***@", text))
    return _PARAMETER.sub(r"\1***", _TOKEN.sub(r"\1\2***", text))


def in_one_line(text: str) -> str:
    """What a host says, for a message: printable, short, without credentials."""
    printable = "".join(it if it.isprintable() else " " for it in text)
    shown = without_secrets(" ".join(printable.split()))
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def document_without_secrets(document: Any, values: Iterable[str] = ()) -> Any:
    """A JSON document with every text in it `without_secrets`."""
    if isinstance(document, str):
        return without_secrets(document, values)
    if isinstance(document, Mapping):
        return {key: document_without_secrets(each, values) for key, each in document.items()}
    if isinstance(document, list | tuple):
        return [document_without_secrets(each, values) for each in document]
    return document
