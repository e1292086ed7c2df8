"""Downloads that are killed: larger ones with COMFY_KILLED_BYTES=2147483648 COMFY_KILLS=20."""

from __future__ import annotations

import logging
import os
import random
from pathlib import Path

import pytest

from comfy_files.files import sha256_of
from comfy_models.store import ModelStore
from comfy_models.transfer.journal import Form, Journal
from comfy_models.transfer.partial import PART_BYTES
from comfy_models.transfer.place import in_store
from tests.model_downloads import IN_FLIGHT, MIB, Model, fetching, files_in
from tests.model_hosts.every_kind import KINDS, Offered, offered

_SIZE = int(os.environ.get("COMFY_KILLED_BYTES", 40_000_000))
_KILLS = int(os.environ.get("COMFY_KILLS", 3))
# Of each connection to the server, bytes per second.
_RATE = max(20 * MIB, _SIZE / 100)


def _received(store: ModelStore, model: Model) -> int:
    """How many bytes a killed download has, by its journal."""
    place = in_store(store, model.sha256)
    if not place.parts.exists():
        return 0
    form = Form(size_bytes=model.size, part_bytes=PART_BYTES)
    journal = Journal(place.parts, form, partial_bytes=place.partial.stat().st_size)
    try:
        return sum(journal.received)
    finally:
        journal.close()


def _killed_after(store: ModelStore, offer: Offered, model: Model, size: int | None) -> int:
    """Kills a download as soon as it reports this many bytes; returns how many it has written."""
    resumed = _received(store, model)
    process = fetching(store.root, offer.url, model=model, variables=offer.variables)
    assert process.stdout is not None
    written = -resumed
    for line in process.stdout:
        if line.strip().lstrip("-").isdecimal():
            written += int(line)
        if size is not None and written >= size:
            process.kill()
            size = None
    process.wait()
    return written


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_there_when_a_download_was_killed_is_not_downloaded_again(
    tmp_path: Path, kind: str
) -> None:
    source = tmp_path / "x.bin"
    content = random.Random(2).randbytes(MIB) * (_SIZE // MIB + 1)
    source.write_bytes(content[:_SIZE])
    del content
    model = Model(sha256=sha256_of(source), size=_SIZE)
    store = ModelStore(tmp_path / "store")
    dice, total = random.Random(), 0
    with offered(kind, source, tmp_path / "host", rate=_RATE) as offer:
        for _ in range(_KILLS):
            total += _killed_after(store, offer, model, dice.randrange(2 * _SIZE // (_KILLS + 1)))
        total += _killed_after(store, offer, model, None)
        sent_bytes = offer.sent_bytes()
    assert sha256_of(store.path_of(model.sha256)) == model.sha256
    assert files_in(store.root / "tmp") in ([], [store.mark_of(model.sha256)])
    sent = sent_bytes / _SIZE
    logging.info("%s: %d kills, %.4f written, %.4f sent", kind, _KILLS, total / _SIZE, sent)
    assert total <= 1.05 * _SIZE
    # Each connection of a killed one had something on its way.
    assert sent_bytes <= _SIZE + max(0.05 * _SIZE, _KILLS * IN_FLIGHT)
