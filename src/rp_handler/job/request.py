"""The input of a worker's job, as in docs/contracts.md: a superset of worker-comfyui's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from comfy_errors import InvalidInputError
from comfy_errors.names import nearest
from comfy_files.json_faults import faults_in_words, key_path, kind_of
from comfy_workflows.graph import Graph, load_workflow, parse_workflow
from rp_handler.inputs.document import JobFile, JobImage, JobInputs
from rp_handler.job.listing import Listed, workflow_names
from rp_handler.job.live import Event
from rp_handler.job.set_inputs import with_inputs_set
from rp_handler.job_models.document import MOST_MODELS, JobModel
from rp_handler.outputs.job_s3 import ALLOWED, allows_job_buckets, read_s3_config
from rp_handler.outputs.modes import require_in_worker
from rp_handler.outputs.s3_settings import S3Settings
from rp_handler.pictures.convert import Conversion
from rp_handler.sendable import is_too_deep, sendable
from rp_handler.webhook import is_webhook_url

_LONGEST_NAME = 100
# Of keys that are reported as unknown.
_MOST_UNKNOWN = 20
_REFUSED = f"this worker does not allow buckets of jobs, which {ALLOWED}=1 does"


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A validated input. `place` names its workflow in messages, `warnings` what was ignored.
    `output` is None for the worker's own mode, `events` are what it wants to hear of while it runs,
    `bucket` is one of its own, `conversion` is how its pictures are delivered, `has_provenance` is
    None for what the worker does. It `is_checked` if it is known that the version can run its
    graph.
    """

    graph: Graph
    place: str
    timeout_s: float | None
    strict: bool
    output: str | None
    events: frozenset[Event]
    conversion: Conversion | None
    files: JobInputs = field(repr=False)
    models: Sequence[JobModel] = field(repr=False)
    extra_data: Mapping[str, Any] = field(repr=False)
    webhook: str | None
    warnings: Sequence[str]
    bucket: S3Settings | None = None
    has_provenance: bool | None = None
    is_checked: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether it brings no files and models along."""
        return not self.files.images and not self.files.files and not self.models

    def secrets(self) -> list[str]:
        """Its keys, which no message may have."""
        keys = [str(value) for value in self.extra_data.values()]
        return keys if self.bucket is None else [*keys, self.bucket.secret]


def _graph_or_name(value: object) -> object:
    if not isinstance(value, dict | str):
        raise ValueError(f"must be a graph, or the name of one, not {kind_of(value)}")
    return value


def _webhook(url: str | None) -> str | None:
    if url and not is_webhook_url(url):
        raise ValueError("must be an address that starts with https:// or http://")
    if url and "@" in urlsplit(url).netloc:
        raise ValueError("must not have a login")
    return url or None


class _Input(JobInputs):
    model_config = ConfigDict(defer_build=True)

    workflow: Annotated[Any, AfterValidator(_graph_or_name)]
    models: list[JobModel] | None = Field(default=None, max_length=MOST_MODELS)
    set: dict[str, Any] | None = None
    output: str | None = None
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    strict: bool | None = None
    strict_input: bool | None = None
    webhook: Annotated[str | None, AfterValidator(_webhook)] = None
    events: list[Event] | None = None
    convert: Conversion | None = None
    provenance: bool | None = None
    comfy_org_api_key: str | None = None
    api_key_comfy_org: str | None = None


def read_job_input(
    document: object,
    *,
    workflows: Path,
    classes: Mapping[str, Any] | None = None,
    environment: Mapping[str, str],
    s3_config: object = None,
) -> JobRequest:
    """The job that `document` describes, a JSON value that `parsed_input` returned.

    A workflow given by name is in the folder `workflows`. `classes` is the version's `/object_info`
    if it is known. `s3_config` is RunPod's key beside the input. Raises InvalidInputError, which
    names every fault, and InvalidWorkflowError.
    """
    unknown = list(islice(_unknown_keys(document), _MOST_UNKNOWN))
    is_refused = s3_config is not None and not allows_job_buckets(environment)
    is_strict = isinstance(document, dict) and document.get("strict_input") is True
    try:
        asked = _Input.model_validate(document)
    except ValidationError as error:
        raise _unusable([faults_in_words(error), *(unknown if is_strict else ())]) from error
    if unknown and is_strict:
        raise _unusable(unknown)
    if is_refused and is_strict:
        raise _unusable([_REFUSED])
    asked.entries()
    if asked.output is not None:
        require_in_worker(asked.output)
    if isinstance(asked.workflow, str):
        path = named_workflow(asked.workflow, workflows)
        graph, place = load_workflow(path), path.name
    else:
        place = "of the job"
        graph = parse_workflow(asked.workflow, place=place)
    # The endpoint may have a key for all of its jobs.
    api_key = asked.comfy_org_api_key or asked.api_key_comfy_org
    api_key = api_key or environment.get("COMFY_ORG_API_KEY")
    return JobRequest(
        graph=with_inputs_set(graph, asked.set or {}, classes, place=place),
        place=place,
        timeout_s=asked.timeout,
        strict=asked.strict is not False,
        output=asked.output,
        events=frozenset(asked.events or ()),
        conversion=asked.convert,
        has_provenance=asked.provenance,
        files=asked,
        models=asked.models or (),
        extra_data={"api_key_comfy_org": api_key} if api_key else {},
        webhook=asked.webhook,
        warnings=[
            *(f"In the job's input, {fault}; it was ignored." for fault in unknown),
            *((f"The job's s3Config was ignored: {_REFUSED}.",) if is_refused else ()),
        ],
        bucket=read_s3_config(s3_config, environment)
        if s3_config is not None and not is_refused and asked.output in (None, "s3")
        else None,
    )


def read_listed(document: object) -> Listed | None:
    """What a `parsed_input` asks to list; None if it asks to run a workflow. Raises
    InvalidInputError.
    """
    if not isinstance(document, dict) or "list" not in document:
        return None
    listed = document["list"]
    if listed not in get_args(Listed):
        names = ", ".join(f"'{name}'" for name in get_args(Listed))
        raise _unusable([f"'list' must be one of {names}"])
    if "workflow" in document:
        raise _unusable(["'list' and 'workflow' cannot be used together"])
    return listed  # type: ignore[no-any-return]


def parsed_input(document: object) -> Any:
    """The JSON value that `document` is, or is the text of. Raises InvalidInputError."""
    value = _read_text(document) if isinstance(document, str) else document
    if is_too_deep(value):
        raise _unusable(["it is nested too deeply"])
    return sendable(value)


def _read_text(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        fault = f"is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    except RecursionError:
        fault = "is nested too deeply"
    except ValueError:
        fault = "has a number of too many digits"
    raise _unusable([f"it is text that {fault}"])


def _unknown_keys(document: object) -> Iterator[str]:
    if isinstance(document, dict):
        yield from _unknown_in(document, list(_Input.model_fields), ())
        yield from _unknown_in(document.get("convert"), list(Conversion.model_fields), ("convert",))
        for name, entry in (("images", JobImage), ("files", JobFile)):
            entries, known = document.get(name), list(entry.model_fields)
            for number, one in enumerate(entries if isinstance(entries, list) else ()):
                yield from _unknown_in(one, known, (name, number))


def _unknown_in(
    document: object, known: Sequence[str], place: tuple[str | int, ...]
) -> Iterator[str]:
    for key in document if isinstance(document, dict) else ():
        if key not in known:
            meant = nearest(key, known)
            shown = key_path((*place, key[:_LONGEST_NAME]))
            yield f"'{shown}' is not a known key" + (f"; the nearest is '{meant}'" if meant else "")


def _unusable(faults: Sequence[str]) -> InvalidInputError:
    return InvalidInputError(
        f"The job's input cannot be used: {'; '.join(faults)}.",
        remedy="docs/runpod.md lists the keys of a job's input.",
    )


def named_workflow(name: str, folder: Path) -> Path:
    """The file of a workflow in `folder`. Raises InvalidInputError."""
    known = workflow_names(folder)
    if name.removesuffix(".json") not in known:
        raise InvalidInputError(
            f'There is no workflow "{name[:_LONGEST_NAME]}" here.',
            remedy=f"It has: {', '.join(known)}." if known else "Send the graph itself.",
        )
    return folder / f"{name.removesuffix('.json')}.json"
