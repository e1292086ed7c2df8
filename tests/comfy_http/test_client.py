"""Where a request may go, what goes with it, and how it is told when it fails."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from comfy_errors import UnavailableError
from comfy_http.client import HttpClient
from runpod_comfy.sources.index.pip_settings import PipSettings
from tests.package_index import IndexHandler, serve


class Redirecting(IndexHandler):
    """Leads every path that starts with `/to/` to the address in the file `to`."""

    def do_GET(self) -> None:  # noqa: N802
        if not self.path.startswith("/to/"):
            super().do_GET()
            return
        self.send_response(302)
        self.send_header("Location", (Path(self.directory) / "to").read_text())
        self.send_header("Content-Length", "0")
        self.end_headers()


@dataclass(frozen=True, kw_only=True)
class Encrypted:
    """A server with a certificate that nobody has signed."""

    url: str
    certificate: Path


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
    with _serve_encrypted(shelf, context) as url:
        yield Encrypted(url=url, certificate=certificate)


@contextmanager
def _serve_encrypted(root: Path, context: ssl.SSLContext) -> Iterator[str]:
    handler = partial(Redirecting, directory=str(root))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def read(url: str, settings: PipSettings | None = None) -> bytes:
    client = HttpClient(settings=settings or PipSettings(), remedy="Look elsewhere.")
    with client.download(url) as chunks:
        return b"".join(chunks)


def test_a_certificate_that_nobody_signed_is_refused(encrypted: Encrypted) -> None:
    with pytest.raises(UnavailableError, match="certificate verify failed") as caught:
        read(f"{encrypted.url}/file")
    assert caught.value.remedy == "Look elsewhere."


def test_the_certificate_that_pip_is_told_of_counts_here_too(encrypted: Encrypted) -> None:
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
    with pytest.raises(UnavailableError, match="certificate verify failed"):
        read(f"{encrypted.url}/to/file", settings)


def test_nothing_leads_from_an_encrypted_address_to_one_that_is_not(
    encrypted: Encrypted, shelf: Path
) -> None:
    settings = PipSettings(cert=str(encrypted.certificate))
    with serve(shelf) as plain:
        (shelf / "to").write_text(f"{plain}/file")
        with pytest.raises(UnavailableError, match="leads on to http: without encryption"):
            read(f"{encrypted.url}/to/file", settings)


def test_an_address_that_is_none_is_told_in_words(pip_knows_nothing: None) -> None:
    for url in ("http://", "https://[broken/x.zip", "http://\u2603.invalid:99999/x.zip"):
        with pytest.raises(UnavailableError, match="could not be read"):
            read(url)
