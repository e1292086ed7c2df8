"""How a job can fail, and the failure document of docs/contracts.md: an `error_type` for each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from comfy_errors import ComfyError, InvalidInputError, OperationFailedError
from comfy_files.files import ROOM_AND_PERMISSIONS, os_reason, os_remedy
from comfy_workflows.graph import InvalidWorkflowError
from rp_handler.sendable import sendable

# RunPod cuts the lines of its log at 4096 characters.
_LONGEST = 3900
# RunPod loses results of 10 MB.
_LARGEST_DETAILS = 1_000_000


class JobError(OperationFailedError):
    """A failure while a job runs. `details` is plain JSON: if a node raised, the node, its
    class_type, the exception, and the last lines of its traceback.
    """

    error_type: ClassVar[str] = "execution_error"
    retryable: bool = False

    def __init__(
        self, message: str, *, remedy: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.details = dict(details or {})


class RefusedPromptError(JobError):
    """The engine rejected the graph. `details` holds its `node_errors`."""

    exit_code = 2
    error_type = "invalid_workflow"


class OutOfMemoryError(JobError):
    """A node ran out of memory."""

    error_type = "out_of_memory"


class DeviceFaultError(JobError):
    """The GPU reported an error after which nothing works in the engine's process."""

    retryable = True


class EngineCrashedError(JobError):
    """The engine ended by itself."""

    error_type = "engine_crashed"
    retryable = True


class EngineStartError(EngineCrashedError):
    """The engine ended before it was ready, or was not ready in time."""

    exit_code = 3


class ModelsNotThereError(JobError):
    """Models of the version are in none of the places they may be in. `details`: models, each with
    target_path, sha256, size, source and faults; and looked_in.
    """

    exit_code = 3
    error_type = "missing_models"


class InputFetchError(JobError):
    """Files of the job's input could not be fetched. `details`: inputs, their fields."""

    exit_code = 3
    error_type = "input_fetch_failed"

    def __init__(
        self, message: str, *, remedy: str, details: Mapping[str, Any], retryable: bool
    ) -> None:
        super().__init__(message, remedy=remedy, details=details)
        self.retryable = retryable


class JobTimeoutError(JobError):
    """The job exceeded its timeout."""

    error_type = "timeout"


class JobCancelledError(JobError):
    """The job was cancelled from outside."""

    error_type = "cancelled"


class OutputUploadError(JobError):
    """An output could not be delivered. `details`: the `uri` that it was for."""

    error_type = "output_upload_failed"
    retryable = True


class OutputTooLargeError(JobError):
    """The result is larger than RunPod accepts. `details`: result_bytes, limit_bytes, and the bytes
    of each of its `files`.
    """

    error_type = "output_too_large"


def reportable(error: ComfyError | OSError) -> ComfyError:
    """`error` as a ComfyError: an OSError gets a reason in plain words and a next step."""
    if isinstance(error, ComfyError):
        return error
    return JobError(
        f"A file could not be read or written: {os_reason(error)}.",
        remedy=os_remedy(error, otherwise=ROOM_AND_PERMISSIONS),
    )


def _readable(message: str) -> str:
    """`message` without what cannot be printed, which a job may have named, and not too long."""
    printable = "".join(it if it.isprintable() or it == "\n" else " " for it in message)
    return printable if len(printable) <= _LONGEST else f"{printable[:_LONGEST]}…"


def failure_document(error: ComfyError) -> dict[str, Any]:
    """`error` for programs: `{"error", "error_type", "retryable", "details"}`."""
    error_type, retryable, details = "execution_error", False, {}
    if isinstance(error, InvalidInputError):
        error_type = "invalid_input"
    if isinstance(error, JobError):
        error_type, retryable, details = error.error_type, error.retryable, error.details
    elif isinstance(error, InvalidWorkflowError):
        error_type = error.error_type
        details["problems"] = [
            {"node": one.node, "class_type": one.class_type, "problem": one.sentence}
            for one in error.problems
        ]
    if len(json.dumps(details)) > _LARGEST_DETAILS:
        details = {"left_out": "The details are larger than 1 MB."}
    if error.remedy:
        details = {**details, "remedy": error.remedy}
    document = {
        "error": _readable(error.message),
        "error_type": error_type,
        "retryable": retryable,
        "details": details,
    }
    return sendable(document)
