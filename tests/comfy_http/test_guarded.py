"""Which addresses a guarded client connects to, and what it sends there."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import comfy_http.guarded
from comfy_errors import ComfyError, InvalidInputError, UnavailableError
from comfy_http.guarded import GuardedClient, PrivateAddressError, ProxyError, is_public
from comfy_http.ranges import Location, open_range
from comfy_http.settings import NetworkSettings
from tests.http_server import Answer, Request, redirect, serve
from tests.loopback_canary import (
    PUBLIC_ADDRESS,
    PUBLIC_NAME,
    Canary,
    canary,
    resolve_public_name,
)


@pytest.fixture
def bird() -> Iterator[Canary]:
    with canary() as bird:
        yield bird


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def read(url: str, *, allows_private: bool = False, cert: Path | None = None) -> bytes:
    client = GuardedClient(
        settings=NetworkSettings(cert=str(cert) if cert else None, timeout_s=5),
        remedy="Look elsewhere.",
        retries=0,
        allows_private=allows_private,
    )
    with client.session() as session:
        stream = open_range(client, session, Location(url=url, uses_netrc=False))
        try:
            return stream.read(1000)
        finally:
            stream.close()


def resolving(answers: Callable[[str], list[str]]) -> Any:
    """A `getaddrinfo` that knows the hosts that `answers` has addresses for."""
    real = socket.getaddrinfo

    def answer(host: str, port: int, *arguments: Any, **options: Any) -> Any:
        return [
            place
            for each in answers(host) or [host]
            for place in real(each, port, *arguments, **options)
        ]

    return answer


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0"),
        *("100.64.0.1", "100.100.100.200", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1"),
        *("fd00:ec2::254", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254"),
        *("::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
        *("2002:7f00:1::", "2002:a9fe:a9fe::", "2001::1", "2001:db8::1", "100::1"),
    ],
)
def test_addresses_that_are_not_of_the_public_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"],
)
def test_addresses_of_the_public_internet(address: str) -> None:
    assert is_public(address)


def test_no_way_to_name_this_machine_leads_to_it(bird: Canary) -> None:
    for url in bird.urls():
        with pytest.raises(ComfyError) as caught:
            read(url)
        assert f":{bird.port}/secret.png" in caught.value.message
    assert bird.heard == []


def test_the_canary_hears_what_is_allowed(bird: Canary) -> None:
    for host in ("localhost", "127.0.0.2", *(["[::1]"] if bird.has_ipv6 else [])):
        with pytest.raises(UnavailableError):
            read(f"http://{host}:{bird.port}/", allows_private=True)
    assert len(bird.heard) >= 2


def test_a_redirect_is_checked_like_the_first_address(
    bird: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_public_name(monkeypatch)
    led_to: list[str] = []

    def lead_on(request: Request) -> Answer:
        if request.path == "/first":
            return redirect("/second")
        led_to.append(bird.urls()[len(led_to)])
        return redirect(led_to[-1].encode().decode("latin-1"))

    with serve(answering=lead_on) as url:
        port = url.rpartition(":")[2]
        for _ in bird.urls():
            with pytest.raises(ComfyError, match=PUBLIC_NAME):
                read(f"http://{PUBLIC_NAME}:{port}/first")
    assert led_to == bird.urls()
    assert bird.heard == []


def test_a_connection_is_made_to_the_address_that_was_checked(
    bird: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def answers(host: str) -> list[str]:
        if host != "rebinding.test":
            return []
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    monkeypatch.setattr(comfy_http.guarded, "is_public", lambda address: address == "127.0.0.1")
    monkeypatch.setattr(socket, "getaddrinfo", resolving(answers))
    with pytest.raises(UnavailableError):
        read(f"http://rebinding.test:{bird.port}/")
    assert bird.heard == ["127.0.0.1"]
    assert len(asked) == 1


def test_one_private_address_among_public_ones_is_enough_to_refuse(
    bird: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        resolving(lambda host: [PUBLIC_ADDRESS, "127.0.0.1"] if host == "mixed.test" else []),
    )
    with pytest.raises(PrivateAddressError, match=r"leads to mixed\.test, which is not"):
        read(f"http://mixed.test:{bird.port}/")
    assert bird.heard == []


def test_tls_verifies_the_name_and_not_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", "/CN=right.test", "-addext", "subjectAltName=DNS:right.test"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setattr(comfy_http.guarded, "is_public", lambda _: True)
    monkeypatch.setattr(
        socket, "getaddrinfo", resolving(lambda host: ["127.0.0.1"] if ".test" in host else [])
    )
    with serve(answering=lambda _: Answer(body=b"content"), tls=context) as url:
        port = url.rpartition(":")[2]
        assert read(f"https://right.test:{port}/", cert=certificate) == b"content"
        with pytest.raises(UnavailableError, match="does not verify"):
            read(f"https://wrong.test:{port}/", cert=certificate)


def test_a_proxy_is_not_asked_to_resolve_what_we_cannot_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Request] = []

    def answer(request: Request) -> Answer:
        asked.append(request)
        return Answer(body=b"by proxy")

    with serve(answering=answer) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        with pytest.raises(ProxyError, match="through a proxy"):
            read("http://192.0.2.1/x.png")
        assert asked == []
        monkeypatch.setenv("no_proxy", "192.0.2.1")
        with pytest.raises(PrivateAddressError):
            read("http://192.0.2.1/x.png")
        monkeypatch.delenv("no_proxy")
        assert read("http://192.0.2.1/x.png", allows_private=True) == b"by proxy"
        assert asked[0].path == "http://192.0.2.1/x.png"


def test_no_login_is_sent_and_none_in_a_url_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    logins: list[str | None] = []
    target = ""

    def answer(request: Request) -> Answer:
        logins.append(request.headers["Authorization"])
        return redirect(target) if request.path == "/to" else Answer(body=b"content")

    with serve(answering=answer) as url:
        target = f"{url}/file"
        assert read(f"{url.replace('127.0.0.1', 'localhost')}/to", allows_private=True)
        assert read(target, allows_private=True) == b"content"
        assert logins == [None, None, None]
        target = target.replace("//", "//me:secret@")
        for refused in (target, f"{url}/to"):
            with pytest.raises(InvalidInputError, match="login") as caught:
                read(refused, allows_private=True)
            assert "secret" not in caught.value.message
        assert len(logins) == 4


def test_a_token_is_sent_to_the_host_that_it_is_for_and_no_other() -> None:
    logins: dict[str, str | None] = {}
    target = ""

    def answer(request: Request) -> Answer:
        logins[request.path] = request.headers["Authorization"]
        return redirect(target) if request.path == "/to" else Answer(body=b"content")

    with serve(answering=answer) as url:
        target = f"{url.replace('127.0.0.1', 'localhost')}/elsewhere"
        for sends_tokens in (True, False):
            client = GuardedClient(
                settings=NetworkSettings(),
                remedy="",
                allows_private=True,
                sends_tokens=sends_tokens,
            )
            for login in ("Bearer token", "Basic token"):
                headers = {"Authorization": login}
                with client.session() as session:
                    place = Location(url=f"{url}/to", headers=headers, uses_netrc=False)
                    open_range(client, session, place).close()
                is_sent = sends_tokens and login.startswith("Bearer")
                assert logins == {"/to": login if is_sent else None, "/elsewhere": None}
