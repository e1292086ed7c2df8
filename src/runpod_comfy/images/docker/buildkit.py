"""One build by BuildKit, through the Docker SDK's own connection.

docker-py's `images.build` only uses the classic builder. The same URL with `version=2` and the
context as a tar in the body uses BuildKit, which then needs no session.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import docker
import requests
from docker.errors import create_api_error_from_http_exception

from comfy_errors import OperationFailedError, error_at_the_end
from comfy_http.redaction import without_secrets
from runpod_comfy.images.docker.build_progress import (
    BuildProgress,
    BuildShow,
    BuildStep,
    read_trace,
)
from runpod_comfy.images.docker.stream import (
    Message,
    engine_errors,
    engine_remedy,
    failed,
    read_messages,
    step_remedy,
)
from runpod_comfy.lock.python.building import build_remedy

_BUILDKIT = "2"
_DOING = "building the image"
# The layer whose program ends its output in an error of its own.
_CHECK = "check"
_TRACE, _IMAGE = "moby.buildkit.trace", "moby.image.id"
_EXIT_CODE = re.compile(r"exit code: \d+")
_OTHERWISE = (
    "Fix what these lines report. `runpod-comfy realize` runs the same layer on this machine."
)


class BuildFailedError(OperationFailedError):
    """A step failed. `step` is its layer or BuildKit's name for it, `lines` its output."""

    def __init__(self, message: str, *, remedy: str, step: str, lines: tuple[str, ...]) -> None:
        super().__init__(message, remedy=remedy)
        self.step = step
        self.lines = lines


@dataclass(frozen=True, kw_only=True)
class BuildOutcome:
    """The image, and every finished step; steps added by BuildKit have BuildKit's names."""

    image_id: str
    steps: tuple[BuildStep, ...]


def run_build(
    client: docker.DockerClient,
    context: BinaryIO | Iterator[bytes],
    *,
    tags: Sequence[str],
    platform: str | None,
    no_cache: bool,
    network: str | None,
    build_args: Mapping[str, str],
    labels: Mapping[str, str],
    show: BuildShow,
) -> BuildOutcome:
    """Builds the `Dockerfile` in `context`, a tar in GNU or USTAR format with whole-second times.

    `platform` is `linux/amd64` and the like, `network` a mode for the whole build (`host`, `none`).
    Raises BuildFailedError for a failed step, OperationFailedError for any other failure. An
    interruption closes the connection, and the engine then stops the build.
    """
    parameters = {
        "version": _BUILDKIT,
        "t": list(tags),
        "rm": "1",
        "nocache": "1" if no_cache else "0",
        "buildargs": json.dumps(dict(build_args)),
        "labels": json.dumps(dict(labels)),
        **({"platform": platform} if platform else {}),
        **({"networkmode": network} if network else {}),
    }
    progress = BuildProgress(show)
    with engine_errors(_DOING):
        response = client.api.post(
            f"{client.api.base_url}/v{client.api.api_version}/build",
            params=parameters,
            data=context,
            headers={"Content-Type": "application/x-tar"},
            stream=True,
            # A step may be silent for any length of time.
            timeout=None,
        )
    with response:
        return _follow(response, progress)


def _follow(response: requests.Response, progress: BuildProgress) -> BuildOutcome:
    image_id = None
    try:
        for message in read_messages(_documents(response), doing=_DOING):
            if message.get("id") == _IMAGE:
                image_id = str(message["aux"]["ID"])
            elif message.get("id") == _TRACE:
                for change in read_trace(message["aux"]):
                    progress.handle(change)
    except OperationFailedError as error:
        raise _step_failed(progress) or error from error
    except (ValueError, KeyError) as error:
        raise failed(
            _DOING, f"the engine's record of the build cannot be read ({error})"
        ) from error
    if image_id is None:
        raise failed(_DOING, "the engine closed the stream without a reason")
    return BuildOutcome(image_id=image_id, steps=progress.steps())


def _documents(response: requests.Response) -> Iterator[Message]:
    try:
        response.raise_for_status()
    except requests.HTTPError as error:
        create_api_error_from_http_exception(error)
    for line in response.iter_lines(chunk_size=None):
        if line.strip():
            try:
                document: Any = json.loads(line)
            except ValueError as error:
                raise failed(_DOING, "the engine's response is incomplete") from error
            yield document if isinstance(document, dict) else {}


def _step_failed(progress: BuildProgress) -> BuildFailedError | None:
    failure = progress.failure()
    if failure is None:
        return None
    exit_code = _EXIT_CODE.search(failure.reason)
    reason = exit_code.group() if exit_code else without_secrets(failure.reason)
    lines = "".join(f"\n  | {line}" for line in failure.last_lines)
    what = f"the layer '{failure.layer}'" if failure.layer else f"the step '{failure.step}'"
    said = "\n".join([failure.reason, *failure.last_lines])
    remedy = engine_remedy(said)
    if failure.layer:
        remedy = build_remedy("\n".join(failure.lines)) or step_remedy(said) or _OTHERWISE
    message = f"{what} did not build: {reason}" + (f"; its last lines:{lines}" if lines else "")
    if failure.layer == _CHECK and (words := error_at_the_end(failure.lines)):
        message, remedy = f"{what} did not build: {words[0]}", words[1]
    return BuildFailedError(
        message, remedy=remedy, step=failure.layer or failure.step, lines=failure.lines
    )
