"""The files of a tree as a tar file, the same bytes for the same tree, and back."""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from comfy_errors import InvalidInputError, MismatchError
from runpod_comfy.cache.tree_members import add_tree
from runpod_comfy.sources.tree_writer import TreeWriter

_CHUNK_BYTES = 1 << 20


class _Sink:
    """A stream that hands on what is written to it."""

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take

    def write(self, chunk: bytes) -> int:
        self._take(chunk)
        return len(chunk)


def pack_tree(folder: Path, take: Callable[[bytes], object]) -> None:
    """Gives `take` the tar file of a folder, piece by piece."""
    stream: IO[bytes] = _Sink(take)  # type: ignore[assignment]  # only written to
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        add_tree(archive, folder)


def unpack_tree(archive: Path, target: Path, *, where: str) -> None:
    """Writes the files of such a tar file into the empty folder `target`.

    Raises InvalidInputError for a hostile one, MismatchError for one that is damaged.
    """
    writer = TreeWriter(root=target, where=where)
    try:
        with tarfile.open(archive, mode="r|") as opened:
            for member in opened:
                if member.issym():
                    writer.add_link(member.name, member.linkname)
                elif member.isreg():
                    content = opened.extractfile(member)
                    assert content is not None
                    executable = bool(member.mode & stat.S_IXUSR)
                    writer.write_file(member.name, _chunks(content), executable=executable)
                else:
                    raise InvalidInputError(
                        f"{where}: '{member.name}' is neither a file nor a symbolic link",
                        remedy="Make the bundle again: runpod-comfy bundle create ID",
                    )
    except (tarfile.TarError, EOFError) as error:
        raise MismatchError(
            f"{where} is damaged: {error}", remedy="Bring the bundle here again."
        ) from error
    writer.finish()


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: stream.read(_CHUNK_BYTES), b"")
