"""How this machine reaches servers: proxy, certificates, timeout."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """`cert` is a file or folder of CA certificates, `client_cert` our own certificate, `timeout_s`
    how long to wait for a silent server. None means the default.

    The certificates of `trusted_hosts` are not checked. A proxy URL may hold a login, so it is left
    out of this object's repr.
    """

    trusted_hosts: tuple[str, ...] = ()
    cert: str | None = None
    client_cert: str | None = None
    proxy: str | None = field(default=None, repr=False)
    timeout_s: float | None = None
