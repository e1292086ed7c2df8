"""Why uv found no solution, or failed: its explanation as an error that names the spec's lines."""

from __future__ import annotations

import re

from comfy_errors import InvalidInputError, OperationFailedError, UnavailableError
from comfy_http.redaction import without_secrets
from runpod_comfy.lock.python.building import build_remedy
from runpod_comfy.lock.python.uv_request import CompileRequest, request_texts

# uv formats its explanation with box characters and a multiplication sign.
_DRAWING = re.compile(r"[\u00d7\u2500-\u257f\u25b6]")
_NETWORK_TROUBLE = ("error sending request", "Failed to fetch", "dns error", "timed out", "connect")
_NOT_THE_REASON = ("DEBUG", "TRACE", "INFO", "WARN ", "warning: Requirements file")
_UNREADABLE = re.compile(
    r"Couldn't parse requirement in `(?P<file>[^`]+)` at position (?P<at>\d+)\s+"
    r"(?:cause: )?(?P<why>[^\n]+)"
)
_UNBUILDABLE = re.compile(r"Failed to (?:download and )?build `(?P<what>[^`]+)`")


class NoSolutionError(Exception):
    """No set of versions satisfies `request`. `reason` is uv's explanation, `account` uv's log."""

    def __init__(self, request: CompileRequest, reason: str, account: str) -> None:
        super().__init__(reason)
        self.request = request
        self.reason = reason
        self.account = account


class UnbuiltError(OperationFailedError):
    """What the sdist `release` needs is only known once it is built, and it was not."""

    def __init__(self, message: str, *, remedy: str, release: str) -> None:
        super().__init__(message, remedy=remedy)
        self.release = release


def failure(account: str, request: CompileRequest) -> Exception:
    """The error for a run of uv that failed; `account` is what it printed."""
    told = [line for line in account.splitlines() if not line.startswith(_NOT_THE_REASON)]
    text = without_secrets(_DRAWING.sub(" ", "\n".join(told)))
    reason = " ".join(text.split())
    if built := _UNBUILDABLE.search(reason):
        # An sdist's requirements are only known once it is built, and this one cannot be built
        # here.
        name = re.split(r"[=@ ]", built["what"], maxsplit=1)[0]
        lines = [
            f"{line.place} ('{line.asked}')" for line in request.requirements if line.name == name
        ]
        lacking = build_remedy(reason)
        select = f"{lacking} Or select" if lacking else "Select"
        asked = f", which {' and '.join(lines)} asks for," if lines else ""
        return UnbuiltError(
            release=built["what"],
            message=f"{built['what']}{asked} has no matching wheel, and its sdist cannot be built "
            f"here: {reason[-600:]}",
            remedy=f"{select} a version of it that has wheels with options.overrides in the spec, "
            f'or remove it: "overrides": ["{name} ; python_version < \'3\'"]',
        )
    if fault := _UNREADABLE.search(text):
        return _unreadable(fault, request)
    if "No solution found" in reason:
        return NoSolutionError(request, text, account)
    if any(sign in reason for sign in _NETWORK_TROUBLE):
        return _unreachable(text, request)
    return OperationFailedError(
        f"uv could not resolve the Python distributions: {reason}",
        remedy="Correct 'options' in the spec or pip's configuration ('pip config list').",
    )


def _unreachable(text: str, request: CompileRequest) -> UnavailableError:
    """The error for an index that did not answer, by uv's explanation."""
    # The retries, each with its causes, come before the error.
    last = " ".join(text[text.rfind("error: ") :].split()).replace(" cause: ", ": ")
    index = request.torch_index
    if index and without_secrets(index).rstrip("/") in last:
        return UnavailableError(
            f"the index of 'options.torch.index' could not be reached: {last}",
            remedy="Check 'options.torch.index' in the spec, and the network.",
        )
    return UnavailableError(
        f"the Python package index could not be reached: {last}",
        remedy="Check the network, and the index that pip is configured to use "
        "('pip config list').",
    )


def _unreadable(fault: re.Match[str], request: CompileRequest) -> InvalidInputError:
    """The error for a requirement that uv cannot read; uv names its position in the file."""
    content = ("\n".join(request_texts(request).get(fault["file"], ())) + "\n").encode()
    number = content[: int(fault["at"])].count(b"\n")
    text = content.decode().split("\n")[number]
    places = [f"{line.place}: '{line.asked}'" for line in request.requirements if line.text == text]
    return InvalidInputError(
        f"{'; '.join(places) or repr(text)} is not a requirement: {fault['why'].strip()}",
        remedy="Correct that line, use another version of that node, or override the distribution "
        "with options.overrides in the spec.",
    )
