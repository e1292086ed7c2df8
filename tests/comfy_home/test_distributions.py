from __future__ import annotations

import pytest

from comfy_home.distributions import distribution_of


@pytest.mark.parametrize(
    ("module", "distribution"),
    [
        ("cv2", "opencv-python-headless"),
        ("yaml.loader", "pyyaml"),
        ("google.cloud", None),
        ("google.genai", "google-genai"),
        ("numpy", None),
    ],
)
def test_a_module_leads_to_its_distribution(module: str, distribution: str | None) -> None:
    assert distribution_of(module) == distribution
