"""Keeps user names and passwords of URLs out of everything that a person or a log may see."""

from __future__ import annotations

import re

_HTTP_USER = re.compile(r"(?i)\b(https?://)[^/\s@]+@")
_PASSWORD = re.compile(r"(://[^/\s:@]*):[^/\s@]+@")


def without_secrets(text: str) -> str:
    """The same text with the credentials of every URL in it replaced by `***`."""
    return _PASSWORD.sub(r"\1:***@", _HTTP_USER.sub(r"\1***@", text))
