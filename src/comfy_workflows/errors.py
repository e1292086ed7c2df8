"""What can be wrong with a workflow before anything has run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from comfy_errors import InvalidInputError, UnavailableError

ProblemKind = Literal["missing_node", "missing_model", "invalid_input"]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that keeps a graph from running.

    `node` is the node's id in the graph, `name` the node class or the model file in question,
    `sentence` the whole of it in words.
    """

    kind: ProblemKind
    node: str
    class_type: str
    name: str
    sentence: str


class InvalidWorkflowError(InvalidInputError):
    """A file that holds no graph, or a graph that cannot run whatever is installed."""

    def __init__(
        self, message: str, *, remedy: str = "", problems: tuple[Problem, ...] = ()
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.problems = problems


class MissingNodesError(InvalidWorkflowError):
    """A graph that uses node classes which this version does not have."""


class MissingModelsError(UnavailableError):
    """A graph whose only fault is that model files are not there."""

    def __init__(self, message: str, *, remedy: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(message, remedy=remedy)
        self.problems = problems
