"""Names in messages: how many are left out, and which one was probably meant."""

from __future__ import annotations

import pytest

from comfy_errors.names import as_options, in_lines, listed, nearest, nearest_names, quantity

COMMANDS = ["create", "resolve", "realize", "run", "test", "bundle", "image build", "bundle load"]
KEYS = ["schema_version", "version_id", "comfy", "custom_nodes", "models", "env", "options"]


def test_names_that_are_left_out_are_counted() -> None:
    assert listed(["a", "b"], at_most=2) == "a, b"
    assert listed(["a", "b", "c", "d"], at_most=2) == "a, b and 2 more"
    assert in_lines(["a", "b\nc"]) == "\n  a\n  b\n  c"
    assert in_lines(["a", "b", "c", "d"], at_most=2) == "\n  a\n  b\n  and 2 more"


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("relaize", COMMANDS, "realize"),
        ("bundel", COMMANDS, "bundle"),
        ("Build", COMMANDS, "image build"),
        ("nodes", KEYS, "custom_nodes"),
        ("model", KEYS, "models"),
        ("check", ["sha256", "checksum"], "checksum"),
        ("Portrat", ["portrait", "landscape"], "portrait"),
    ],
)
def test_a_slip_of_the_hand_and_a_word_of_a_name_are_understood(
    name: str, known: list[str], meant: str
) -> None:
    assert nearest(name, known) == meant


@pytest.mark.parametrize(
    ("name", "known"), [("node", ["demo"]), ("build", ["bundle"]), ("mine", ["demo"]), ("x", [])]
)
def test_what_is_quite_different_is_not_proposed(name: str, known: list[str]) -> None:
    assert nearest(name, known) is None


def test_at_most_three_are_proposed_and_the_nearest_comes_first() -> None:
    near = nearest_names("v0.3.7", ["v0.3.1", "v0.3.75", "v0.3.70", "v0.3.71", "main"])
    assert len(near) == 3
    assert set(near) == {"v0.3.75", "v0.3.70", "v0.3.71"}


def test_counts_agree_with_their_nouns() -> None:
    assert [quantity(count, "pin") for count in (0, 1, 2)] == ["0 pins", "1 pin", "2 pins"]
    assert quantity(2, "dependency", "dependencies") == "2 dependencies"


def test_options_are_shown_as_a_spec_has_them() -> None:
    shown = as_options(torch={"version": "2.11"}, writable_environment=True)
    assert shown == '"options": {"torch": {"version": "2.11"}, "writable_environment": true}'
