"""Layers on their way, from the messages that engines send."""

from __future__ import annotations

from runpod_comfy.images.docker.layer_transfer import Transfers
from runpod_comfy.images.docker.stream import Message

PUSH: list[Message] = [
    {"status": "The push refers to repository [127.0.0.1:5000/demo]"},
    *({"status": "Preparing", "progressDetail": {}, "id": layer} for layer in ("aa", "bb", "cc")),
    {"status": "Layer already exists", "progressDetail": {}, "id": "aa"},
    {"status": "Pushing", "progressDetail": {"current": 512, "total": 2000}, "id": "bb"},
    {"status": "Mounted from other/demo", "progressDetail": {}, "id": "cc"},
]


def test_how_each_layer_got_there_is_told_once() -> None:
    transfers = Transfers()

    there = [transfers.hear(message) for message in PUSH]
    there.append(transfers.hear({"status": "Pushed", "id": "bb"}))
    there.append(transfers.hear({"status": "Pushed", "id": "bb"}))

    told = [(each.layer, each.how, each.size_bytes) for each in there if each]
    assert told == [("aa", "existing", 0), ("cc", "mounted", 0), ("bb", "moved", 2000)]


def test_how_far_all_are_in_words() -> None:
    transfers = Transfers()
    for message in PUSH:
        transfers.hear(message)

    assert transfers.in_words() == "2/3 layers, 512 bytes of 2.0 kB"


def test_a_layer_that_grows_past_its_announced_size_has_the_size_it_has() -> None:
    transfers = Transfers()
    detail = {"current": 2560, "total": 2000}
    transfers.hear({"status": "Pushing", "progressDetail": detail, "id": "bb"})

    assert transfers.in_words() == "0/1 layers, 2.6 kB of 2.6 kB"


def test_the_tag_of_a_pull_is_no_layer() -> None:
    transfers = Transfers()
    for message in (
        {"status": "Pulling from library/demo", "id": "latest"},
        {"status": "Pulling fs layer", "progressDetail": {}, "id": "aa"},
        {"status": "Pull complete", "progressDetail": {}, "id": "aa"},
    ):
        transfers.hear(message)

    assert transfers.in_words() == "1/1 layers"
