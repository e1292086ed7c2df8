"""How a job can fail, and the failure document of the contracts: a type for each error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from comfy_errors import ComfyError, OperationFailedError
from comfy_workflows.errors import InvalidWorkflowError, MissingModelsError, MissingNodesError


class JobError(OperationFailedError):
    """A failure while a job runs. `details` is plain JSON."""

    error_type: ClassVar[str] = "execution_error"
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, remedy: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.details = dict(details or {})


class RefusedPromptError(JobError):
    """The engine refused the graph. `details` holds its `node_errors`."""

    exit_code = 2
    error_type = "invalid_workflow"


class ExecutionError(JobError):
    """A node raised. `details`: node, class_type, exception, traceback (last lines)."""

    error_type = "execution_error"


class OutOfMemoryError(ExecutionError):
    """A node ran out of memory."""

    error_type = "out_of_memory"


class EngineCrashedError(JobError):
    """The engine ended by itself."""

    error_type = "engine_crashed"
    retryable = True


class EngineStartError(EngineCrashedError):
    """The engine ended before it was ready, or was not in time: there is none to work with."""

    exit_code = 3


class ModelsNotThereError(JobError):
    """Models of the version are on none of the places where they may lie. `details`: models, each
    with target_path, sha256, size, source and faults; and looked_in."""

    exit_code = 3
    error_type = "missing_models"


class JobTimeoutError(JobError):
    """The job took longer than it may."""

    error_type = "timeout"


class JobCancelledError(JobError):
    """Somebody interrupted the job from outside."""

    error_type = "cancelled"


def failure_document(error: ComfyError) -> dict[str, Any]:
    """`{"error", "error_type", "retryable", "details"}`: how machines are told of `error`."""
    details: dict[str, Any] = {}
    if isinstance(error, JobError):
        error_type, retryable, details = error.error_type, error.retryable, error.details
    else:
        error_type, retryable = _type_of(error), False
    if isinstance(error, InvalidWorkflowError | MissingModelsError):
        details = {
            "problems": [
                {"node": one.node, "class_type": one.class_type, "problem": one.sentence}
                for one in error.problems
            ]
        }
    if error.remedy:
        details = {**details, "remedy": error.remedy}
    return {
        "error": error.message,
        "error_type": error_type,
        "retryable": retryable,
        "details": details,
    }


def _type_of(error: ComfyError) -> str:
    if isinstance(error, MissingNodesError):
        return "missing_nodes"
    if isinstance(error, InvalidWorkflowError):
        return "invalid_workflow"
    if isinstance(error, MissingModelsError):
        return "missing_models"
    return "invalid_input"
