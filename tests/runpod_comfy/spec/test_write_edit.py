"""Edits of a spec's text: what is asked for is there, and every other character stays."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runpod_comfy.spec.write import append_entry, put_override

_NODE = {"name": "new", "repo": "https://h/new", "ref": "main"}

_WRITTEN = """\
{
    "schema_version": 2,
    "custom_nodes": [],
    "models": [
        {
            "name": "a.bin"
        }
    ],
    "env": {},
    "options": {}
}
"""
# As people write: their own order, tabs, lines of several keys, letters as escapes.
_BY_HAND = (
    "\ufeff{\r\n"
    '\t"options": {"torch": {"version": "2.11.0"},\r\n'
    '\t            "overrides": ["numpy<2"]},\r\n'
    '\t"env" : { "A":"\\u00e9" },\r\n'
    '\t"custom_nodes": [ {"name": "a", "repo": "a"},\r\n'
    '\t                  {"name": "b", "repo": "b"} ],\r\n\r\n'
    '\t"schema_version": 2 }'
)
_ONE_LINE = '{"schema_version":2,"custom_nodes":[{"name":"a"}],"options":{"overrides":["b==1"]}}'


def _loads(text: str) -> Any:
    return json.loads(text.removeprefix("\ufeff"))


def test_an_entry_looks_as_create_writes_it() -> None:
    text = append_entry(_WRITTEN, "custom_nodes", _NODE)
    text = append_entry(text, "custom_nodes", {**_NODE, "name": "other"})
    text = append_entry(text, "models", {"name": "b.bin"})
    document = json.loads(_WRITTEN)
    document["custom_nodes"] = [_NODE, {**_NODE, "name": "other"}]
    document["models"].append({"name": "b.bin"})
    assert text == json.dumps(document, indent=4) + "\n"


def test_an_override_looks_as_create_writes_it() -> None:
    text = put_override(put_override(_WRITTEN, "numpy<2"), "scipy==1.10")
    document = json.loads(_WRITTEN)
    document["options"] = {"overrides": ["numpy<2", "scipy==1.10"]}
    assert text == json.dumps(document, indent=4) + "\n"


def test_lists_keep_the_layout_that_a_user_gave_them() -> None:
    assert append_entry(_BY_HAND, "custom_nodes", _NODE) == _BY_HAND.replace(
        '"repo": "b"} ]',
        f'"repo": "b"}},\r\n\t                  {json.dumps(_NODE)} ]',
    )
    assert put_override(_BY_HAND, "scipy") == _BY_HAND.replace('"numpy<2"', '"numpy<2", "scipy"')


def test_a_spec_on_one_line_stays_on_one() -> None:
    text = append_entry(_ONE_LINE, "custom_nodes", {"name": "b"})
    assert text == _ONE_LINE.replace('{"name":"a"}', '{"name":"a"}, {"name": "b"}')
    assert "\n" not in append_entry(text, "models", {"name": "c"})


@pytest.mark.parametrize("text", [_WRITTEN, _BY_HAND, _ONE_LINE, '{"a": {}}', '{"a":\n1}'])
@pytest.mark.parametrize("key", ["custom_nodes", "models"])
def test_the_entry_is_added_and_nothing_else(text: str, key: str) -> None:
    document = _loads(text)
    document.setdefault(key, []).append(_NODE)
    edited = append_entry(text, key, _NODE)
    assert _loads(edited) == document
    assert list(_loads(edited)) == list(document)
    # Nothing that was there is gone.
    assert len(edited) > len(text)
    assert {"\n", "\r"} & set(edited) <= {"\n", "\r"} & set(text)


@pytest.mark.parametrize("text", ['{"a": 1}', '{"options": {}}', '{"options": {"overrides": []}}'])
def test_an_override_makes_the_place_that_it_needs(text: str) -> None:
    assert _loads(put_override(text, "b==1"))["options"] == {"overrides": ["b==1"]}


@pytest.mark.parametrize(
    ("before", "requirement", "after"),
    [
        (["a==1", "b==1", "c==1"], "B==2", ["a==1", "B==2", "c==1"]),
        (["some_pkg==1"], "some-pkg==2", ["some-pkg==2"]),
        (["b==1"], "bb==1", ["b==1", "bb==1"]),
        (
            ["b==1; sys_platform=='linux'", "a==1", "b==2; sys_platform=='darwin'"],
            "b==3",
            ["b==3", "a==1"],
        ),
        (
            ["b==1; sys_platform=='linux'"],
            "b==2; sys_platform == 'darwin'",
            ["b==1; sys_platform=='linux'", "b==2; sys_platform == 'darwin'"],
        ),
        (
            ["b==1; sys_platform=='linux'"],
            'b==2; sys_platform == "linux"',
            ['b==2; sys_platform == "linux"'],
        ),
        (["b==1"], "b==2; sys_platform == 'linux'", ["b==2; sys_platform == 'linux'"]),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_an_override_replaces_those_that_it_settles(
    before: list[str], requirement: str, after: list[str], indent: int | None
) -> None:
    text = json.dumps({"options": {"overrides": before}, "env": {}}, indent=indent)
    expected = json.dumps({"options": {"overrides": after}, "env": {}}, indent=indent)
    assert put_override(text, requirement) == expected
