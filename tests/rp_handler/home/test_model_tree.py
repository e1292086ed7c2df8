from __future__ import annotations

from pathlib import Path

import pytest

from rp_handler.home.model_tree import changeable_link, leading_to


@pytest.fixture
def link(tmp_path: Path) -> Path:
    return tmp_path / "tmp/ours/models"


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_only_the_link_of_an_image_is_changed(tmp_path: Path, link: Path) -> None:
    for number, target in enumerate(("../models", str(link))):
        (tmp_path / str(number)).symlink_to(target)
    assert changeable_link(tmp_path / "0") is None
    assert changeable_link(tmp_path / "1") == link
    assert changeable_link(tmp_path) is None


def test_it_leads_to_the_models_folder_itself(tmp_path: Path, link: Path) -> None:
    main = tmp_path / "mounted"
    put(main / "LLM/a.gguf", "a")
    for _ in range(2):
        with leading_to(link, main, links=tmp_path / "none", scratch=tmp_path / "all"):
            assert (link / "LLM/a.gguf").read_text() == "a"
            # What a node downloads into a new folder is kept.
            put(link / "facedet/new.pth", "new")
        assert (main / "facedet/new.pth").read_text() == "new"
        assert link.readlink() == main


def test_a_node_can_make_a_folder_although_the_models_cannot_be_written(
    tmp_path: Path, link: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes make folders of their own when they are imported."""
    main = tmp_path / "mounted"
    put(main / "LLM/a.gguf", "a")
    monkeypatch.setattr("rp_handler.home.model_tree.can_write", lambda folder: folder != main)
    with leading_to(link, main, links=tmp_path / "none", scratch=tmp_path / "all"):
        (link / "facedet").mkdir()
        assert (link / "LLM/a.gguf").read_text() == "a"
    assert not (main / "facedet").exists()
    assert link.readlink() == main


def test_models_from_elsewhere_are_on_top_of_it(tmp_path: Path, link: Path) -> None:
    main, links = tmp_path / "mounted", tmp_path / "links"
    put(main / "loras/mine.bin", "mine")
    put(main / "loras/x.bin", "wrong")
    put(main / "vae/v.bin", "v")
    put(tmp_path / "hub/x.bin", "right")
    for name in ("loras/x.bin", "LLM/x.bin"):
        (links / name).parent.mkdir(parents=True)
        (links / name).symlink_to(tmp_path / "hub/x.bin")
    with leading_to(link, main, links=links, scratch=tmp_path / "all"):
        assert (link / "loras/mine.bin").read_text() == "mine"
        assert (link / "loras/x.bin").read_text() == "right"
        assert (link / "LLM/x.bin").read_text() == "right"
        put(link / "vae/new.bin", "new")
    assert (main / "vae/new.bin").read_text() == "new"
    assert (main / "loras/x.bin").read_text() == "wrong"
    assert link.readlink() == main


def test_a_later_run_in_the_container_keeps_its_own(tmp_path: Path, link: Path) -> None:
    none = tmp_path / "none"
    links = tmp_path / "links"
    put(links / "a.bin", "a")
    main, other = tmp_path / "main", tmp_path / "other"
    main.mkdir()
    other.mkdir()
    with (
        leading_to(link, main, links=links, scratch=tmp_path / "all"),
        leading_to(link, other, links=none, scratch=none),
    ):
        pass
    assert link.readlink() == other
