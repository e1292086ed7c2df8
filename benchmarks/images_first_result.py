"""Target 8: from `docker run` to the first result on standard output."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import docker
import docker.errors

from benchmarks.images import OURS, THEIRS, ImageContest
from benchmarks.rows import Row, ratio_at_most
from benchmarks.samples import Samples
from comfy_errors import OperationFailedError

WHAT, AT_MOST = "new container → first result, in those of worker-comfyui's layout", 0.6

_PNG = b"iVBORw0KGgo"
"""How every PNG file begins in base64."""

_TAIL_BYTES = 2000

NOTES = (
    "8: a picture of 512² in base64, from the request for a container to the line with the result; "
    "the container is removed after each. Theirs starts in their order (torch imported to look for "
    "a device, ComfyUI, the handler with RunPod's library, which waits for ComfyUI and runs its "
    "test_input.json), in words of ours; uv compiles nothing for it, as in their Dockerfile. "
    "No node imports anything.",
)


def measure(contest: ImageContest) -> list[Row]:
    """Both in turn; the first round, in which the disk is read, does not count."""
    ours: list[float] = []
    theirs: list[float] = []
    arguments = ("--version-id", contest.version, "--workflow", "/app/workflows/bench.json")

    def our_turn() -> None:
        ours.append(_until_result(contest.room.client, OURS, (*arguments, "--output", "base64")))

    def their_turn() -> None:
        theirs.append(_until_result(contest.room.client, THEIRS, ()))

    for number in range(contest.rounds + 2):
        contest.say(f"8: new containers, round {number + 1} of {contest.rounds + 2}")
        for turn in (our_turn, their_turn) if number % 2 == 0 else (their_turn, our_turn):
            contest.scratch.settle()
            turn()
    return [
        ratio_at_most(
            8,
            WHAT,
            ours=("ours", Samples(ours[1:])),
            beside=("worker-comfyui's layout", Samples(theirs[1:])),
            at_most=AT_MOST,
        )
    ]


def _until_result(client: docker.DockerClient, image: str, arguments: Sequence[str]) -> float:
    started = time.monotonic()
    container = client.containers.create(image, list(arguments) or None)
    try:
        said = b""
        stream = container.attach(stream=True, stdout=True, stderr=True)
        container.start()
        for part in stream:
            said += part
            if _PNG in said:
                return time.monotonic() - started
        end = said[-_TAIL_BYTES:].decode(errors="replace")
        raise OperationFailedError(f"a container of {image} ended without a result:\n{end}")
    finally:
        with contextlib.suppress(docker.errors.APIError):
            container.remove(force=True)
