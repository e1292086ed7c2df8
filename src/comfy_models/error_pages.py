"""What hosts send instead of a model: web pages, errors in JSON or XML, Git LFS pointers.

Such content has status 200 behind some proxies and login pages, and is in files that were saved
with tools that do not look at the status.
"""

from __future__ import annotations

import codecs
import html
import json
import re
from pathlib import PurePosixPath
from typing import Any

from comfy_files.lfs import POINTER_START, read_pointer
from comfy_http.redaction import in_one_line

PAGE_BYTES = 1024
"""Enough of a web page to recognize it."""

_HTML = re.compile(
    rb"\s*(?:<\?xml[^>]*\?>\s*)?(?><!--.*?-->\s*)*+<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)
_TITLE = re.compile(rb"<title[^<>]*>([^<]*)<", re.IGNORECASE)
_XML = re.compile(rb"\s*<(?:\?xml|Error>)")
_XML_MESSAGE = re.compile(rb"<Message>([^<]*)<")
_XML_CODE = re.compile(rb"<Code>([^<]*)<")
_JSON = re.compile(rb"\s*[\[{]\s*[\[{\"\]}]")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# The keys of messages, best first: of Civitai, the Hub, Google Cloud and others.
_MESSAGE_KEYS = ("message", "error", "error_description", "detail", "errors")

_WEB_SUFFIXES = {".htm", ".html", ".xhtml", ".svg", ".xml", ".md", ".txt", ".jinja", ".j2"}
_TEXT_SUFFIXES = {
    *_WEB_SUFFIXES,
    *("", ".json", ".jsonl", ".ipynb", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf"),
    *(".csv", ".tsv", ".py", ".vocab", ".merges", ".prototxt", ".pbtxt", ".index", ".lock"),
}


def is_text(name: str) -> bool:
    """Whether a file of this name may be a text: such files of a model's folder are not checked
    for being empty or an error in JSON or XML.
    """
    return PurePosixPath(name).suffix.lower() in _TEXT_SUFFIXES


def fault_of_page(head: bytes, name: str) -> str | None:
    """What a file is that starts with `head`, if it is not a model or another file of its name, as
    the end of a sentence that starts with the file.
    """
    if head.startswith(POINTER_START):
        pointer = read_pointer(head)
        of = f" of {pointer.size:,} bytes with sha256 {pointer.sha256}" if pointer else ""
        return f"is a Git LFS pointer, which stands for a file{of}"
    text = head.removeprefix(_BYTE_ORDER_MARK)
    if _HTML.match(text) and PurePosixPath(name).suffix.lower() not in _WEB_SUFFIXES:
        return f"is a web page{_quoted(_first(_TITLE, text))}, not a model"
    if is_text(name):
        return None
    if _XML.match(text):
        return f"is an error in XML{_quoted(': '.join(filter(None, xml_error(text))))}, not a model"
    if _JSON.match(text) and _is_plain_text(text):
        return f"is a JSON text{_quoted(_message_in(text))}, not a model"
    return None


def xml_error(text: bytes) -> tuple[str, str]:
    """The code and the message of an error of S3 or Google Cloud Storage, empty if it has none."""
    return _first(_XML_CODE, text), _first(_XML_MESSAGE, text)


def _first(pattern: re.Pattern[bytes], text: bytes) -> str:
    match = pattern.search(text)
    return html.unescape(match[1].decode(errors="replace")) if match else ""


def _is_plain_text(head: bytes) -> bool:
    """Whether `head` is the start of a text in UTF-8, with its last character perhaps cut."""
    # An incremental decoder accepts the cut character.
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)


def _message_in(text: bytes) -> str:
    """The message of an error in JSON, empty if it has none, or was cut."""
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    while isinstance(found, dict | list) and found:
        found = found[0] if isinstance(found, list) else _message_of(found)
    return found if isinstance(found, str) else ""


def _message_of(answer: dict[str, Any]) -> Any:
    return next((answer[key] for key in _MESSAGE_KEYS if answer.get(key)), None)


def _quoted(message: str) -> str:
    shown = in_one_line(message)
    return f" ('{shown}')" if shown else ""
