"""A single file of an image, read through a container that is never started."""

from __future__ import annotations

import contextlib
import io
import tarfile

import docker
import docker.errors

from runpod_comfy.images.docker.stream import engine_errors


def read_image_file(client: docker.DockerClient, reference: str, path: str) -> bytes | None:
    """The content of the file at `path` in an image, None if there is no such file.

    Raises OperationFailedError if the engine cannot do it.
    """
    with engine_errors(f"reading {path} in the image {reference}"):
        container = client.containers.create(reference, command=["none"])
        try:
            chunks, _ = container.get_archive(path)
            archive = b"".join(chunks)
        except docker.errors.NotFound:
            return None
        finally:
            with contextlib.suppress(docker.errors.APIError):
                container.remove(force=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        member = files.next()
        stream = files.extractfile(member) if member is not None else None
        return stream.read() if stream is not None else None
