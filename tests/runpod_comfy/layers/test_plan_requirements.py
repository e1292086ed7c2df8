from __future__ import annotations

from runpod_comfy.layers.plan import requirements_text
from runpod_comfy.lock.model import Distribution, DistributionFile


def _distribution(name: str, hashes: list[str], marker: str | None = None) -> Distribution:
    files = [
        DistributionFile(name=f"{name}-{number}.whl", sha256=sha256)
        for number, sha256 in enumerate(hashes)
    ]
    return Distribution(name=name, version="1.0", marker=marker, files=files)


def test_each_distribution_is_pinned_with_its_marker_and_all_hashes_in_a_stable_order() -> None:
    text = requirements_text(
        [
            _distribution("zeta", ["b" * 64, "a" * 64], "sys_platform == 'linux'"),
            _distribution("alpha", ["c" * 64]),
        ]
    )
    assert text == (
        "alpha==1.0 \\\n"
        f"    --hash=sha256:{'c' * 64}\n"
        "zeta==1.0 ; sys_platform == 'linux' \\\n"
        f"    --hash=sha256:{'a' * 64} \\\n"
        f"    --hash=sha256:{'b' * 64}\n"
    )


def test_no_distributions_are_not_requirements() -> None:
    assert requirements_text([]) == ""
