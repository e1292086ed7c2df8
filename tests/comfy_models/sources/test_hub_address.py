from __future__ import annotations

import pytest

from comfy_models.sources.hub_address import HubAddress, is_hub_address, parse_hub_address

FILE = HubAddress(repo="org/name", path="unet/a b.safetensors")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("hf://org/name/x.bin", HubAddress(repo="org/name", path="x.bin")),
        ("huggingface://org/name/x.bin", HubAddress(repo="org/name", path="x.bin")),
        ("hf://org/name@v1/a/x.bin", HubAddress(repo="org/name", revision="v1", path="a/x.bin")),
        (
            "hf://org/name@refs/pr/3/x.bin",
            HubAddress(repo="org/name", revision="refs/pr/3", path="x.bin"),
        ),
        (
            "hf://org/name@feature%2Fx/x.bin",
            HubAddress(repo="org/name", revision="feature/x", path="x.bin"),
        ),
        ("hf://org/name/unet/a%20b.safetensors", FILE),
        ("hf://org/name/unet/a b.safetensors", FILE),
        ("hf://org/name/a@b.bin", HubAddress(repo="org/name", path="a@b.bin")),
        (
            "hf://datasets/org/name/x.bin",
            HubAddress(kind="datasets", repo="org/name", path="x.bin"),
        ),
        ("hf://org/name/unet/", HubAddress(repo="org/name", path="unet", is_folder=True)),
        (
            "hf://org/name@v1/",
            HubAddress(repo="org/name", revision="v1", path="", is_folder=True),
        ),
    ],
)
def test_a_short_address_names_repository_revision_and_path(url: str, address: HubAddress) -> None:
    assert is_hub_address(url)
    assert parse_hub_address(url) == address
    assert parse_hub_address(address.url) == address


@pytest.mark.parametrize("view", ["blob", "resolve", "raw"])
@pytest.mark.parametrize(
    "host", ["https://huggingface.co", "http://hf.co", "https://HuggingFace.co"]
)
def test_the_address_of_a_page_names_the_file_that_it_shows(host: str, view: str) -> None:
    url = f"{host}/org/name/{view}/main/unet/a%20b.safetensors?download=true#L1"
    assert is_hub_address(url)
    assert parse_hub_address(url) == HubAddress(
        repo="org/name", revision="main", path="unet/a b.safetensors"
    )


def test_pages_of_pull_requests_and_datasets_are_understood() -> None:
    url = "https://huggingface.co/datasets/org/name/blob/refs%2Fpr%2F1/x.bin"
    address = parse_hub_address(url)
    assert (address.kind, address.revision) == ("datasets", "refs/pr/1")
    assert address.repo_path == "datasets/org/name"


@pytest.mark.parametrize("end", ["main/unet", "main/unet/"])
def test_the_page_of_a_folder_names_the_folder(end: str) -> None:
    address = parse_hub_address(f"https://huggingface.co/org/name/tree/{end}")
    assert (address.path, address.is_folder) == ("unet", True)
    whole = parse_hub_address("https://huggingface.co/org/name/tree/main")
    assert (whole.path, whole.is_folder) == ("", True)


@pytest.mark.parametrize(
    "url",
    [
        *("https://example.com/org/name/blob/main/x.bin", "hf:org/name/x.bin", "gs://hf.co/x"),
        *("https://huggingface.co.example.com/org/name/blob/main/x.bin", "models/x.bin", "hf"),
    ],
)
def test_other_addresses_are_not_of_the_hub(url: str) -> None:
    assert not is_hub_address(url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("hf://org/name", "a whole repository as 'hf://ORGANISATION/NAME/'"),
        ("hf://gpt2/x.bin", "must name a file on the Hub"),
        ("hf://", "must name a file on the Hub"),
        ("hf://org/name@/x.bin", "'@' without a revision"),
        ("hf://org/name@a..b/x.bin", "a revision that git does not allow"),
        ("hf://org/name@%ED%A0%80%00/x.bin", "a revision that git does not allow"),
        ("hf://org/na me/x.bin", "names no repository that the Hub can have"),
        ("hf://../name/x.bin", "names no repository that the Hub can have"),
        ("hf:///name/x.bin", "names no repository that the Hub can have"),
        ("hf://org/name/../x.bin", "must have a path without '..'"),
        ("hf://org/name/a%2F..%2F..%2Fx.bin", "must have a path without '..'"),
        ("hf://org/name/a//x.bin", "must have a path without '..', '.', '//'"),
        ("hf://org/name/a%0Ax.bin", "control characters"),
        ("hf://org/name/\ud800.bin", "control characters"),
        ("hf://org/name//", "must have a path without"),
        ("hf://org/name/x.bin?rev=v1", "must not have a '?' or '#'"),
        ("https://huggingface.co/org/name", "is not the page of a file on the Hub"),
        ("https://huggingface.co/org/name/discussions/1", "is not the page of a file on the Hub"),
        ("https://huggingface.co/org/name/blob/main", "must have a path without"),
        ("https://huggingface.co/", "is not the page of a file on the Hub"),
    ],
)
def test_an_address_that_names_no_file_or_folder_is_refused(url: str, reason: str) -> None:
    assert is_hub_address(url)
    with pytest.raises(ValueError, match="^(must|has|is|names) ") as caught:
        parse_hub_address(url)
    assert reason in str(caught.value)


def test_a_file_of_a_folder_has_an_address_at_the_same_revision() -> None:
    folder = parse_hub_address("hf://org/name@v1/unet/")
    assert folder.file("unet/a b.json").url == "hf://org/name@v1/unet/a%20b.json"
    whole = parse_hub_address("hf://org/name/")
    assert whole.file("unet/x.bin").url == "hf://org/name/unet/x.bin"
    for path in ("vae/x.bin", "unet/../x.bin", "unet", "/unet/x.bin", "unet2/x.bin"):
        with pytest.raises(ValueError, match="path|below"):
            folder.file(path)


def test_the_last_part_of_an_address_is_its_name() -> None:
    names = {"hf://org/name/a/x.bin": "x.bin", "hf://org/name/unet/": "unet", "hf://o/n/": "n"}
    assert {url: parse_hub_address(url).name for url in names} == names
