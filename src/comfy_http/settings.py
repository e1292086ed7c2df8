"""How this machine reaches servers: its proxy, its certificates, its patience."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """`cert` is a file or folder of certificates, `client_cert` one that we show, `timeout_s` how
    long a silent server is waited for. None leaves each to its default.

    `trusted_hosts` are not asked for a certificate. A proxy may hold a login, so it stays out of
    this object's text.
    """

    trusted_hosts: tuple[str, ...] = ()
    cert: str | None = None
    client_cert: str | None = None
    proxy: str | None = field(default=None, repr=False)
    timeout_s: float | None = None
