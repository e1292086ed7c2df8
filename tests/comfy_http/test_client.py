"""Where a request may go, what is sent with it, and how its failure is reported."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from comfy_errors import UnavailableError
from comfy_http.client import HttpClient
from comfy_http.ranges import Location, open_range
from comfy_http.retries import retried
from comfy_http.settings import NetworkSettings
from runpod_comfy.sources.index.pip_settings import PipSettings
from tests.http_server import Answering, redirect, serve


@dataclass(frozen=True, kw_only=True)
class Encrypted:
    """A server with a certificate that no authority has signed. `greeted` has an item for each
    connection.
    """

    url: str
    certificate: Path
    greeted: list[object] = field(default_factory=list)


@pytest.fixture
def shelf(tmp_path: Path, pip_knows_nothing: None) -> Path:
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "file").write_text("content")
    return folder


@pytest.fixture
def encrypted(shelf: Path, tmp_path: Path) -> Iterator[Encrypted]:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    greeted: list[object] = []
    context.sni_callback = lambda *_: greeted.append(None)
    with serve(shelf, _led_on_from(shelf), tls=context) as url:
        yield Encrypted(url=url, certificate=certificate, greeted=greeted)


def _led_on_from(shelf: Path) -> Answering:
    """Leads every path that starts with `/to/` to the address in the file `to`."""
    return lambda request: (
        redirect((shelf / "to").read_text()) if request.path.startswith("/to/") else None
    )


def read(url: str, settings: PipSettings | None = None) -> bytes:
    client = HttpClient(settings=settings or PipSettings(), remedy="Look elsewhere.")
    with client.download(url) as chunks:
        return b"".join(chunks)


def test_a_certificate_from_an_unknown_issuer_is_refused(encrypted: Encrypted) -> None:
    with pytest.raises(UnavailableError) as caught:
        read(f"{encrypted.url}/file")
    url = f"{encrypted.url}/file"
    reason = "its certificate does not verify: self-signed certificate"
    assert caught.value.message == f"{url} could not be read: {reason}"
    assert "REQUESTS_CA_BUNDLE" in caught.value.remedy


def test_a_server_with_a_certificate_that_does_not_verify_is_asked_once(
    encrypted: Encrypted,
) -> None:
    client = HttpClient(settings=NetworkSettings(), remedy="")
    location = Location(url=f"{encrypted.url}/file")
    with client.session() as session, pytest.raises(UnavailableError, match="verify"):
        retried(lambda: open_range(client, session, location), url=encrypted.url)
    assert len(encrypted.greeted) == 1


def test_an_authority_that_pip_names_and_that_has_not_signed_is_named(
    encrypted: Encrypted,
) -> None:
    other = DEFAULT_CA_BUNDLE_PATH
    with pytest.raises(UnavailableError, match="does not verify") as caught:
        read(f"{encrypted.url}/file", PipSettings(cert=other))
    assert caught.value.remedy.startswith(f"Check the certificates in {other}")


def test_the_certificate_configured_for_pip_is_used_here_too(encrypted: Encrypted) -> None:
    settings = PipSettings(cert=str(encrypted.certificate))
    assert read(f"{encrypted.url}/file", settings) == b"content"


@pytest.mark.parametrize("login", ["", "me:secret@"])
def test_a_host_that_pip_trusts_needs_no_certificate(encrypted: Encrypted, login: str) -> None:
    settings = PipSettings(trusted_hosts=("127.0.0.1",))
    url = encrypted.url.replace("//", f"//{login}")
    assert read(f"{url}/file", settings) == b"content"


def test_trust_in_a_host_is_no_trust_in_the_one_that_it_leads_to(
    encrypted: Encrypted, shelf: Path
) -> None:
    settings = PipSettings(trusted_hosts=("127.0.0.1",))
    (shelf / "to").write_text(f"{encrypted.url}/file")
    assert read(f"{encrypted.url}/to/file", settings) == b"content"
    (shelf / "to").write_text(f"{encrypted.url}/file".replace("127.0.0.1", "localhost"))
    with pytest.raises(UnavailableError, match="does not verify"):
        read(f"{encrypted.url}/to/file", settings)


def test_nothing_leads_from_an_encrypted_address_to_one_that_is_not(
    encrypted: Encrypted, shelf: Path
) -> None:
    settings = PipSettings(cert=str(encrypted.certificate))
    with serve(shelf) as plain:
        (shelf / "to").write_text(f"{plain}/file")
        with pytest.raises(UnavailableError, match="redirects to http: without encryption"):
            read(f"{encrypted.url}/to/file", settings)


def test_an_address_that_is_none_is_reported_in_plain_words(pip_knows_nothing: None) -> None:
    for url in ("http://", "https://[broken/x.zip", "http://\u2603.invalid:99999/x.zip"):
        with pytest.raises(UnavailableError, match="could not be read"):
            read(url)
