"""What the card of an output shows, by what became of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_workflows.compare.tolerance import parse_tolerance
from comfy_workflows.report.elements import Element
from comfy_workflows.report.outputs import outputs_section, pairs_of
from comfy_workflows.report.parts import Report, ShownRun
from tests.comfy_workflows.compare.runs import file, result
from tests.comfy_workflows.report.two_runs import frames, landscape, small_report, with_one_pixel
from tests.media_files import animation, deep_png, noise, picture, sound_file, tone, video


def _cards(report: Report) -> list[Element]:
    return list(outputs_section(report, pairs_of(report)).iter("article"))


def _card(before: list[Any], after: list[Any], **changes: Any) -> Element:
    (card,) = _cards(small_report(result(*before), result(*after), **changes))
    return card


def _text(card: Element) -> str:
    return " ".join(card.itertext())


def _classes(card: Element) -> list[str]:
    return [each.get("class", "") for each in card.iter()]


def test_two_pictures_have_numbers_a_slider_and_a_map() -> None:
    card = _card([file(picture(landscape()))], [file(picture(with_one_pixel(landscape())))])
    assert [each.get("value") for each in card.iter("input")] == ["side", "slide", "map", "50"]
    assert len(list(card.iter("img"))) == 3
    for text in (
        "4 of 255",
        "0.99999",
        "under 0.01%",
        "1 of 196,608 pixels differs, at (200, 100)",
    ):
        assert text in _text(card)
    assert "enlarged" in _text(card)


def test_pictures_of_different_sizes_are_only_side_by_side() -> None:
    card = _card([file(picture(noise(24, 32)))], [file(picture(noise(32, 32)))])
    assert len(list(card.iter("img"))) == 2
    assert list(card.iter("input")) == []
    assert "It is 32×32, and was 32×24." in _text(card)


def test_what_is_equal_is_shown_once() -> None:
    same = [file(picture(noise()))]
    card = _card(same, same)
    assert len(list(card.iter("img"))) == 1
    assert "equal" in _text(card)
    card = _card(same, [file(picture(noise(), said="later"))])
    assert len(list(card.iter("img"))) == 1
    assert "Only its file differs: metadata" in _text(card)


def test_a_new_and_a_missing_output_are_shown_with_their_side() -> None:
    shown = [file(picture(noise()))]
    assert "Only in demo-next" in _text(_card([], shown))
    card = _card(shown, [])
    assert "missing" in _text(card)
    assert [each.get("alt") for each in card.iter("img")] == ["Image 1 of node 6: Only in demo"]


def test_what_differs_comes_first() -> None:
    same, accepted = file(picture(noise()), node="3"), file(picture(landscape()), node="4")
    report = small_report(
        result(same, accepted, file(picture(noise()), node="5")),
        result(
            same,
            file(picture(with_one_pixel(landscape())), node="4"),
            file(picture(noise(seed=1)), node="5"),
            file(picture(noise()), node="6"),
        ),
        tolerance=parse_tolerance("max=4"),
    )
    verdicts = [pair.finding.verdict for pair in pairs_of(report)]
    assert verdicts == ["different", "new", "within tolerance", "equal"]
    assert [card.get("id") for card in _cards(report)] == [f"output-{n}" for n in (1, 2, 3, 4)]


def test_a_picture_with_16_bits_is_shown() -> None:
    before, after = (file(deep_png(noise(seed=each, deep=True))) for each in (0, 1))
    card = _card([before], [after])
    assert len(list(card.iter("img"))) == 3


def test_the_worst_frame_of_a_video_and_of_an_animation_is_shown_beside_them() -> None:
    for encoded, name in (
        ([video(frames(8, patched=each), "mp4") for each in (-1, 5)], "a.mp4"),
        ([animation(frames(8, patched=each), "WEBP", lossless=True) for each in (-1, 5)], "a.webp"),
    ):
        card = _card(*([file(each, name)] for each in encoded))
        assert "Frame 6 of 8, which differs most" in _text(card)
        assert "slide" in [each.get("value") for each in card.iter("input")]


def test_sounds_have_players_and_no_pictures() -> None:
    card = _card(
        *([file(sound_file(samples), "a.wav")] for samples in (tone(), tone() // 2)),
    )
    players = list(card.iter("audio"))
    assert [player.get("src", "")[:15] for player in players] == ["data:audio/wav;"] * 2
    assert list(card.iter("img")) == []
    assert "both" in _classes(card)
    assert "waves" in _classes(card)


def test_texts_and_files_of_text_are_compared_by_line() -> None:
    (card,) = _cards(small_report(result(text="a\nb"), result(text="a\nc")))
    assert [("".join(each.itertext())) for each in card.iter("del")] == ["-b"]
    card = _card([file(b'{"a": 1}', "a.json")], [file(b'{"a": 2}', "a.json")])
    assert [("".join(each.itertext())) for each in card.iter("ins")] == ['+{"a": 2}']


def test_other_files_have_their_hashes() -> None:
    card = _card([file(b"one", "a.glb")], [file(b"other", "a.glb")])
    assert "Its bytes had sha256" in _text(card)
    assert "a.glb · model/gltf-binary · 5 bytes" in _text(card)
    assert list(card.iter("img")) == []


def test_a_broken_picture_is_said_to_be_broken() -> None:
    card = _card([file(b"no picture")], [file(b"none either")])
    assert _text(card).count("Not shown here: it is broken or of an unknown format") == 2


def test_a_file_that_is_only_in_a_bucket_is_said_to_be_there() -> None:
    elsewhere = file(picture(noise())) | {"type": "gcs", "uri": "gs://bucket/x.png"}
    card = _card([elsewhere], [file(picture(noise(seed=1)))])
    assert "it is in a bucket, where only its sha256 is known" in _text(card)
    assert len(list(card.iter("img"))) == 1


def test_a_file_that_is_gone_is_said_to_be_gone(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(picture(noise()))
    here = file(path.read_bytes()) | {"type": "file", "path": str(path)}
    report = small_report(result(here), result(here))
    path.unlink()
    (card,) = _cards(report)
    assert "its file could not be read: No such file" in _text(card)


def test_a_side_that_made_nothing_has_a_sentence() -> None:
    report = small_report(result(), result())
    assert "Neither run made an output." in _text(outputs_section(report, pairs_of(report)))


@pytest.mark.parametrize("recorded", [True, False])
def test_a_recorded_side_needs_no_result(recorded: bool) -> None:
    report = small_report()
    side = ShownRun(title="the baseline x", run=report.before.run, result=None)
    (card,) = _cards(replace(report, before=side) if recorded else report)
    assert ("the baseline x" in _text(card)) == recorded
