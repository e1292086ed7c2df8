"""Keeps user names, passwords and tokens in URLs out of messages and logs."""

from __future__ import annotations

import re

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

_LONGEST = 200


def without_secrets(text: str) -> str:
    """`text` with the credentials of every URL in it, and tokens, replaced by `***`."""
    text = _PASSWORD.sub(r"\1:***@", _USER.sub(r"\1***@", text))
    return _PARAMETER.sub(r"\1***", _TOKEN.sub(r"\1\2***", text))


def in_one_line(text: str) -> str:
    """What a host says, for a message: printable, short, without credentials."""
    printable = "".join(it if it.isprintable() else " " for it in text)
    shown = without_secrets(" ".join(printable.split()))
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
