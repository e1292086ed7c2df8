from __future__ import annotations

import pytest

from comfy_home.import_needs import needs_in_words, unmet_needs

NEEDS = ["gpu", "env:SOME_KEY", "gpu", "env:OTHER"]


def test_a_need_is_unmet_without_a_gpu_or_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfy_home.import_needs.sys.platform", "linux")
    variables = {"CUDA_VISIBLE_DEVICES": "", "SOME_KEY": "x", "OTHER": ""}
    assert unmet_needs(NEEDS, arguments=[], environment=variables) == ["env:OTHER", "gpu"]
    assert unmet_needs([], arguments=[], environment=variables) == []
    assert needs_in_words(["gpu", "env:OTHER"]) == "a GPU and the variable OTHER"


def test_a_gpu_that_the_engine_does_not_use_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfy_home.import_needs.needs_cpu", lambda _environment: False)
    monkeypatch.setattr("comfy_home.import_needs.sys.platform", "linux")
    assert unmet_needs(["gpu"], arguments=[], environment={}) == []
    assert unmet_needs(["gpu"], arguments=["--cpu"], environment={}) == ["gpu"]
    monkeypatch.setattr("comfy_home.import_needs.sys.platform", "darwin")
    assert unmet_needs(["gpu"], arguments=[], environment={}) == ["gpu"]
