"""What to try next, from the words in which an engine, a registry or a build step gives up."""

from __future__ import annotations

import re

_Table = tuple[tuple[str, str], ...]

_ENGINE: _Table = (
    (
        r"no space left on device",
        "Make room: `docker system df` shows what takes it; `docker builder prune` and "
        "`docker image prune` free some.",
    ),
    (
        r"find bridge|create endpoint|iptables",
        "The engine's bridge network does not work: try --network host, or restart the engine.",
    ),
)
_REGISTRY: _Table = (
    (
        r"docker-credential|credentials store",
        "The credential helper that Docker's config.json names does not work: install it, or take "
        "it out of that file and log in again with `docker login`.",
    ),
    (
        r"unauthorized|authentication required|no basic auth|denied|forbidden|insufficient_scope|"
        r"credentials",
        "Log in with `docker login REGISTRY` as somebody who may do this, and check the "
        "repository's name.",
    ),
    (
        r"server gave HTTP response to HTTPS client",
        "That registry speaks plain HTTP: use one with a certificate, or list it under "
        "`insecure-registries` in the engine's daemon.json.",
    ),
    (
        r"certificate|x509|unknown authority",
        "The engine does not trust the registry's certificate: add it to those of its machine.",
    ),
    (
        r"no such host|server misbehaving|network is unreachable|no route to host",
        "Check the registry's name, and the network of the engine's machine.",
    ),
    (
        r"connection refused|connection reset|timeout|EOF|broken pipe|deadline exceeded|"
        r"\b50[0234]\b|Service Unavailable",
        "The registry broke off or does not answer: see that it runs, then try again.",
    ),
    (r"manifest unknown|not found|does not exist", "Check the name and the tag."),
)
_STEP: _Table = (
    (
        r"certificate verify failed|x509|unknown authority|SSLError|invalid peer certificate|"
        r"UnknownIssuer|self.signed certificate",
        "If a proxy of your network has its own certificates, give them with --ca-bundle FILE.",
    ),
    (
        r"no such host|could not resolve|name resolution|Name or service not known|dns error|"
        r"network is unreachable|failed to lookup|connection refused",
        "The step has no network: try --network host, or set HTTPS_PROXY if you need a proxy.",
    ),
    (
        r"No interpreter found",
        "The base has not the Python of the lock: take a base that has it (--base IMAGE), or set "
        "options.python in the spec to that of the base.",
    ),
    (
        r"exit code: 137|signal: killed|cannot allocate memory|MemoryError",
        "The step was killed, most likely for lack of memory: give the engine more.",
    ),
)


def engine_remedy(reason: str) -> str:
    """The next step after a request that an engine could not serve, or a registry through it."""
    return _first(reason, _ENGINE + _REGISTRY)


def step_remedy(reason: str) -> str:
    """The next step after a failed step of a build, by its error and the end of its output."""
    return _first(reason, _ENGINE + _STEP)


def _first(reason: str, table: _Table) -> str:
    for words, remedy in table:
        if re.search(words, reason, re.IGNORECASE):
            return remedy
    return ""
