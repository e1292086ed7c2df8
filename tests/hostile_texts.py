"""Texts that attack paths, addresses and terminals, for hypothesis."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from comfy_errors import ComfyError

SECRET = "a-secret-of-the-worker"


def hostile(examples: int) -> settings:
    """So many examples, the same at every run."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        # To explain a failure takes longer than to find it.
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


_PARTS = (
    *("..", "../", "/", "//", "\\", ".", "~", "~root", "C:", "a", "b.bin", "x.safetensors", "vae"),
    *("%2e%2e%2f", "%2F", "%00", "%ED%A0%80", "\0", "\n", "\r\n", "\x1b[31m", "\x7f", "\u202e"),
    *("\ud800", "\U0001f600", "e\u0301", "\u00e9", "\u0131", "\ufeff", " ", "-", "--", "$(id)"),
    *("node_models", "NODE_MODELS/", "con", "x" * 256, "é" * 130, "'", '"', "{", "}", "%", "#"),
    *("?", "@", "@main", "?file=1", "1", "-1", "9" * 5000, "\u0663", "1e9"),
)
_STARTS = (
    *("", "http://", "https://", "file://", "file:", "gs://", "s3://", "hf://", "civitai://"),
    *("HF://", "FILE:///", "ftp://", "urn:air:a:b:civitai:", "https://huggingface.co/"),
    *("hf://org/name/", "hf://org/name@", "https://civitai.com/models/", "s3://bucket/", "://"),
    *(
        "https://[",
        "https://h:99999/",
        "https://user:secret-1@h/",
        "https://h/x?token=secret-1",
        "file:///etc/",
        "javascript:",
    ),
)

_part = st.one_of(st.sampled_from(_PARTS), st.sampled_from(_PARTS), st.characters())
texts = st.one_of(st.sampled_from(_PARTS), st.lists(_part, max_size=4).map("".join))
"""Names and paths."""

addresses = st.tuples(st.sampled_from(_STARTS), texts).map("".join)
"""URLs, and what looks like some."""

values = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    *(st.lists(texts, max_size=2), st.dictionaries(texts, texts, max_size=2)),
)
"""What JSON may hold, of whatever type."""


def assert_is_sentence(error: ComfyError) -> None:
    assert error.message.endswith(".")
    assert len(error.message) < 4000
    assert error.message.isprintable()
    assert_keeps_secrets(f"{error.message} {error.remedy}")


def assert_keeps_secrets(text: str) -> None:
    assert "secret-1" not in text
    assert SECRET not in text
