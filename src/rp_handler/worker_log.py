"""The log of a worker on standard error: sentences for people, or one JSON object per line.

docs/contracts.md lists the events. No line has a secret of the environment or of a job.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

from comfy_errors import ComfyError, InvalidInputError
from comfy_files.progress import Say
from comfy_home.manifest import Manifest
from comfy_http.redaction import (
    SHORTEST_SECRET,
    document_without_secrets,
    secret_values,
    without_secrets,
)
from rp_handler.variables import flag

FORM = "COMFY_LOG"
ENGINE = "COMFY_LOG_ENGINE"
Level = Literal["debug", "info", "warning", "error"]

_FORMS = ("json", "text")
_ON_RUNPOD = ("RUNPOD_WEBHOOK_GET_JOB", "RUNPOD_POD_ID")
# RunPod cuts longer lines.
_LONGEST_LINE = 4096
_FIXED = frozenset({"ts", "level", "event"})
_WARNING = "Warning: "

# Of what runs now; a task that a job leaves behind, such as a message to its webhook, keeps it.
_job: ContextVar[str | None] = ContextVar("job", default=None)


class WorkerLog:
    """Writes lines through `say`, as COMFY_LOG in `variables` has it: by default JSON on RunPod,
    sentences elsewhere. Raises InvalidInputError.

    With `shows_engine`, or COMFY_LOG_ENGINE, the lines of ComfyUI's own log are among them.
    """

    def __init__(
        self, say: Say, variables: Mapping[str, str], *, shows_engine: bool = False
    ) -> None:
        self._say = say
        self._variables = variables
        self.is_json = _is_json(variables)
        self.shows_engine = shows_engine or flag(variables, ENGINE, default=False)
        self._secrets = secret_values(variables)
        self._of_job: list[str] = []
        self._facts: dict[str, Any] = {"version": None, "lock": None}
        # That of the engine's lines, which are read from a file, outside the job's own task.
        self._latest_job: str | None = None

    def of_home(self, manifest: Manifest) -> None:
        """From here on the lines are those of this version."""
        self._facts = {"version": manifest.version_id, "lock": manifest.lock_digest}
        self._secrets = secret_values({**manifest.env, **self._variables})

    @contextlib.contextmanager
    def of_job(self, job_id: str) -> Iterator[None]:
        """The lines of the block are those of a job, and so are ComfyUI's until the next block."""
        self._latest_job, self._of_job = job_id, []
        token = _job.set(job_id)
        try:
            yield
        finally:
            _job.reset(token)

    def hide(self, secrets: Iterable[str]) -> None:
        """Keeps these values, such as the keys of a job, out of its lines and its failure."""
        self._of_job += [it for it in secrets if len(it) >= SHORTEST_SECRET]

    def hidden(self, document: dict[str, Any]) -> dict[str, Any]:
        """A JSON document without secrets."""
        cleaned: dict[str, Any] = document_without_secrets(document, self._hidden_values())
        return cleaned

    def say(self, sentence: str) -> None:
        """Writes a sentence that is no event."""
        self.note("message", sentence)

    def engine_line(self, line: str) -> None:
        """Writes a line of ComfyUI's log."""
        if self.is_json:
            self._write("engine_log", line, "debug", {"job": self._latest_job})
        else:
            self._say(_harmless(without_secrets(f"comfyui: {line}", self._hidden_values())))

    def signed_url(self, sentence: str) -> None:
        """Writes a sentence with a signed URL as it is: `--verbose` is there to show them."""
        if self.is_json:
            facts = {"job": self._latest_job, "message": sentence}
            self._say(_fitting({**self._begin("signed_url", "debug"), **facts}))
        else:
            self._say(_harmless(sentence))

    def note(
        self, event: str, sentence: str = "", *, level: Level | None = None, **facts: Any
    ) -> None:
        """Writes an event. Without a `sentence` it is only for programs.

        `facts` are JSON, and may have another `message` for programs; a line that becomes too long
        has a part of them.
        """
        if not self.is_json:
            if sentence:
                self._say(_harmless(without_secrets(sentence, self._hidden_values())))
            return
        level = level or ("warning" if sentence.startswith(_WARNING) else "info")
        self._write(event, sentence.removeprefix(_WARNING), level, {"job": _job.get(), **facts})

    def failed(self, error: ComfyError) -> None:
        """Writes the error that ends the worker."""
        facts = {"message": error.message, "remedy": error.remedy, "exit_code": error.exit_code}
        self.note("failed", error.in_words(), level="error", **facts)

    def _write(self, event: str, sentence: str, level: Level, facts: Mapping[str, Any]) -> None:
        message = facts.get("message", sentence)
        said = {"message": message} if message else {}
        self._say(_fitting({**self._begin(event, level), **self.hidden({**facts, **said})}))

    def _begin(self, event: str, level: Level) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        return {"ts": now, "level": level, "event": event, **self._facts}

    def _hidden_values(self) -> list[str]:
        return [*self._secrets, *self._of_job]


def _is_json(variables: Mapping[str, str]) -> bool:
    form = variables.get(FORM) or None
    if form is None:
        return any(variables.get(name) for name in _ON_RUNPOD)
    if form not in _FORMS:
        raise InvalidInputError(
            f'{FORM} is "{without_secrets(form)}".',
            remedy=f"Set it to {' or '.join(_FORMS)}, or unset it.",
        )
    return form == "json"


def _harmless(sentence: str) -> str:
    """`sentence` without what a terminal acts on, and with its further lines indented: text of a
    job cannot look like a line of its own.
    """
    first, *others = sentence.split("\n")
    lines = [first, *(one if one.startswith("  ") else f"  {one}" for one in others)]
    return "\n".join(
        "".join(it if it.isprintable() else "?" for it in line.replace("\t", "    "))
        for line in lines
    )


def _fitting(line: dict[str, Any]) -> str:
    """`line` as JSON in ASCII that is short enough: the longest values are cut."""
    text = json.dumps(line)
    while len(text) > _LONGEST_LINE:
        longest = max(line.keys() - _FIXED, key=lambda key: len(json.dumps(line[key])))
        line = {**line, longest: _half(line[longest])}
        text = json.dumps(line)
    return text


def _half(value: Any) -> Any:
    """A part of `value`: the beginning of a text or list; of an object the largest numbers."""
    if isinstance(value, str):
        return f"{value[: len(value) // 2]}…" if len(value) > 1 else ""
    if isinstance(value, list):
        return value[: len(value) // 2]
    if isinstance(value, dict):
        order = sorted(value, key=lambda key: _size(value[key]), reverse=True)
        return {key: value[key] for key in order[: len(value) // 2]}
    return None


def _size(value: Any) -> float:
    return value if isinstance(value, int | float) else 0
