from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from rp_handler.inputs.content import decoded, is_cut_off

CONTENT = bytes(range(256))
BASE64 = base64.b64encode(CONTENT).decode()


def picture(form: str) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "value",
    [
        BASE64,
        f"data:image/png;base64,{BASE64}",
        f"DATA:;BASE64,{BASE64}",
        # What worker-comfyui accepts: it takes what follows the comma.
        f"image/png;base64,{BASE64}",
        "\r\n".join(BASE64[at : at + 76] for at in range(0, len(BASE64), 76)),
    ],
)
def test_base64_is_decoded_in_the_forms_that_clients_send(value: str) -> None:
    assert decoded(value) == CONTENT


def test_a_data_uri_may_be_percent_encoded() -> None:
    assert decoded("data:text/plain,a%20b,c") == b"a b,c"


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        *((BASE64[:-1], "cut off or damaged"), (BASE64[:-3], "cut off or damaged")),
        *((BASE64[:50] + "=" + BASE64[51:], "cut off or damaged"), ("A", "cut off or damaged")),
        *(("", "no content"), (" \n", "no content"), ("data:image/png;base64,", "no content")),
        *(("data:image/png;base64", "without a comma"), ("data:,", "no content")),
        *(("hello!", "the character '!'"), ("file:/etc/passwd", "the character ':'")),
        *(("a-_b", "the character '-'"), ("\ud800", r"the character '\ud800'")),
        ("é", r"the character '\xe9'"),
    ],
)
def test_what_is_not_whole_base64_is_refused(value: str, fault: str) -> None:
    with pytest.raises(ValueError, match=".") as caught:
        decoded(value)
    assert fault in str(caught.value)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_an_image_that_is_cut_off_is_refused_also_where_its_base64_is_whole(form: str) -> None:
    content = picture(form)
    assert not is_cut_off(content)
    assert not is_cut_off(content + b"more of another program")
    for size in (len(content) // 3, len(content) - 20, len(content) - 3):
        with pytest.raises(ValueError, match="an image that is cut off"):
            decoded(base64.b64encode(content[:size]).decode())


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\1WEBP"])
def test_the_start_of_an_image_alone_is_cut_off(content: bytes) -> None:
    assert is_cut_off(content)
