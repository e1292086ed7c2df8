"""A workflow's container: what it may do, what comes back, and that nothing of it stays."""

from __future__ import annotations

import io
import os
from pathlib import Path

import docker
import pytest

from comfy_errors import OperationFailedError
from runpod_comfy.images.docker.run_container import ContainerRun, run_container


def _containers_of(engine: docker.DockerClient, image: str) -> list[str | None]:
    return [it.id for it in engine.containers.list(all=True, filters={"ancestor": image})]


def test_what_it_says_and_how_it_ends_is_passed_on(engine: docker.DockerClient, base: str) -> None:
    out, err = io.BytesIO(), io.BytesIO()
    run = ContainerRun(image=base, arguments=["sh", "-c", "echo result; echo told >&2; exit 4"])
    assert run_container(engine, run, out=out, err=err) == 4
    assert (out.getvalue(), err.getvalue()) == (b"result\n", b"told\n")
    assert _containers_of(engine, base) == []


def test_it_writes_where_it_may_as_the_caller(
    engine: docker.DockerClient, base: str, tmp_path: Path
) -> None:
    readable, writable = tmp_path / "given", tmp_path / "outputs"
    readable.write_text("a graph")
    writable.mkdir()
    script = f"""
        cat {readable} > {writable}/copy
        (echo > {readable}) || echo given is kept
        (echo > /file) || echo root is kept
        (echo > /tmp/file) && echo tmp is free
    """
    out = io.BytesIO()
    run = ContainerRun(
        image=base, arguments=["sh", "-c", script], readable=[readable], writable=[writable]
    )
    assert run_container(engine, run, out=out, err=io.BytesIO()) == 0
    assert out.getvalue().splitlines() == [b"given is kept", b"root is kept", b"tmp is free"]
    assert readable.read_text() == (writable / "copy").read_text() == "a graph"
    assert (writable / "copy").stat().st_uid == os.getuid()


def test_an_interruption_ends_it(engine: docker.DockerClient, base: str) -> None:
    class Interrupted(io.BytesIO):
        def write(self, _chunk: object) -> int:
            raise KeyboardInterrupt

    script = "trap 'exit 0' TERM; echo up; while :; do sleep 1; done"
    run = ContainerRun(image=base, arguments=["sh", "-c", script])
    with pytest.raises(KeyboardInterrupt):
        run_container(engine, run, out=Interrupted(), err=io.BytesIO())
    assert _containers_of(engine, base) == []


def test_a_refusal_of_the_engine_is_reported(engine: docker.DockerClient, base: str) -> None:
    run = ContainerRun(image=base, arguments=["no-such-program"])
    with pytest.raises(OperationFailedError, match="no-such-program"):
        run_container(engine, run, out=io.BytesIO(), err=io.BytesIO())
    assert _containers_of(engine, base) == []
