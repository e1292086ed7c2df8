"""Solves parts and variants of a request, within a limit of attempts and time."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from comfy_errors import ComfyError
from runpod_comfy.lock.python.uv_compile import solve
from runpod_comfy.lock.python.uv_failure import NoSolutionError, UnbuiltError
from runpod_comfy.lock.python.uv_request import CompileRequest
from runpod_comfy.lock.requirements.read import RequirementLine

# How long a user will wait for an explanation.
_LONGEST_S = 90.0
_MOST_RUNS = 150
# What uv says if its cache may be to blame.
_LACKING = re.compile(r"\b(cache|network)\b", re.IGNORECASE)


@dataclass(kw_only=True)
class Oracle:
    """`unbuilt` are the sdists that would have to be built to answer."""

    deadline: float = field(default_factory=lambda: time.monotonic() + _LONGEST_S)
    runs_left: int = _MOST_RUNS
    unbuilt: set[str] = field(default_factory=set)

    @property
    def spent(self) -> bool:
        return self.runs_left <= 0 or time.monotonic() > self.deadline

    def ask(
        self, request: CompileRequest, lines: Sequence[RequirementLine] | None = None
    ) -> str | None:
        """uv's reason why the request, with its lines replaced by `lines` if given, has no
        solution; '' if it has one, None if unknown.
        """
        if self.spent:
            return None
        self.runs_left -= 1
        request = replace(request, builds=False)
        if lines is not None:
            request = replace(request, requirements=lines)
        # Most of what it needs was looked up a moment ago.
        answer = self._run(replace(request, offline=True))
        if not request.offline and (answer is None or _LACKING.search(answer)):
            answer = self._run(request)
        return answer

    def _run(self, request: CompileRequest) -> str | None:
        try:
            solve(request)
        except NoSolutionError as error:
            return error.reason
        except UnbuiltError as error:
            self.unbuilt.add(error.release)
            return None
        except ComfyError:
            return None
        return ""

    def solves(
        self, request: CompileRequest, lines: Sequence[RequirementLine] | None = None
    ) -> bool:
        return self.ask(request, lines) == ""
