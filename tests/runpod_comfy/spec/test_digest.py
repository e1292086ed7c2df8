"""The digest of a spec: it follows what is meant, not how it is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from runpod_comfy.spec.load import parse_spec, spec_digest
from runpod_comfy.spec.model import Options, Spec
from tests.specs import whole_spec

Change = Callable[[dict[str, Any]], object]


def spec_of(fields: dict[str, Any]) -> Spec:
    return parse_spec(json.dumps(fields), where="a test")


def digest_after(change: Change) -> str:
    fields = whole_spec()
    change(fields)
    return spec_digest(spec_of(fields))


def test_the_digest_of_a_spec_does_not_change_from_release_to_release() -> None:
    # Committed locks hold digests: another value here makes every one of them answer no spec.
    assert spec_digest(spec_of(whole_spec())) == (
        "sha256:2178696b7fac45c0bb2b329e70a892524961a2bd572cfa50e6ac1541a1acb233"
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(version_id="y"),
        lambda s: s["comfy"].update(repo="https://h/other"),
        lambda s: s["comfy"].update(ref="v1"),
        lambda s: s["comfy"].update(commit="4" * 40),
        lambda s: s["comfy"].update(subdir="a"),
        lambda s: s["custom_nodes"].pop(),
        lambda s: s["custom_nodes"].reverse(),
        lambda s: s["custom_nodes"][0].update(name="other"),
        lambda s: s["custom_nodes"][0].update(commit="5" * 40),
        lambda s: s["custom_nodes"][1].update(repo="../third"),
        lambda s: s["models"].clear(),
        lambda s: s["models"][0].update(name="n.bin"),
        lambda s: s["models"][0].update(source="https://h/n.bin"),
        lambda s: s["models"][0].update(target_subdir=None),
        lambda s: s["models"][0].update(target_path="vae/n.bin"),
        lambda s: s["models"][0].update(checksum="sha256:" + "6" * 64),
        lambda s: s["models"][0].update(mirrors=["https://mirror/m.bin"]),
        lambda s: s["models"][0].update(size=7),
        lambda s: s["env"].update(A="2"),
        lambda s: s["env"].update(B=""),
    ],
)
def test_a_field_that_decides_what_the_lock_holds_changes_the_digest(change: Change) -> None:
    assert digest_after(change) != spec_digest(spec_of(whole_spec()))


_OPTIONS: dict[str, Any] = {
    "python": "3.12",
    "base": "cpu",
    "torch": {"version": "2.11.0"},
    "as_of": "2026-11-29",
    "requirements": ["numpy<2"],
    "constraints": ["numpy<2"],
    "build_requirements": {"numpy": ["cython"]},
    "overrides": ["numpy==1.26.4"],
    "system_packages": ["ffmpeg"],
    "comfy_args": ["--lowvram"],
    "run_install_scripts": ["first"],
    "allow_pickle": ["m.bin"],
    "user": "comfy",
    "platforms": ["linux-aarch64"],
    "import_needs": {"first": ["gpu"]},
    "writable_environment": True,
}


def test_every_option_changes_the_digest_in_its_own_way() -> None:
    assert set(_OPTIONS) == set(Options.model_fields), "give a new option a value here"
    cases = [{name: value} for name, value in _OPTIONS.items()]
    cases += [{}, {"torch": {"index": "https://h/whl"}}, {"constraints": ["numpy==1.26.4"]}]
    digests = {spec_digest(spec_of(whole_spec() | {"options": case})) for case in cases}
    assert len(digests) == len(cases)


def test_defaults_spelled_out_are_the_same_spec() -> None:
    def spell_out(fields: dict[str, Any]) -> None:
        fields["comfy"]["subdir"] = None
        fields["models"][0] |= {"mirrors": [], "size": None}
        fields["options"] = Options().model_dump()

    assert digest_after(spell_out) == spec_digest(spec_of(whole_spec()))


def test_parts_left_out_and_parts_left_empty_are_the_same_spec() -> None:
    least = {"schema_version": 2, "version_id": "x", "comfy": {"repo": "core"}}
    empty = {**least, "custom_nodes": [], "models": [], "env": {}, "options": {"torch": {}}}
    assert spec_digest(spec_of(least)) == spec_digest(spec_of(empty))


def test_the_order_of_keys_does_not_matter() -> None:
    fields = whole_spec() | {"env": {"B": "2", "A": "1"}}
    turned = dict(reversed(list(fields.items()))) | {"env": {"A": "1", "B": "2"}}
    assert spec_digest(spec_of(fields)) == spec_digest(spec_of(turned))
