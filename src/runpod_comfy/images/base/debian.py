"""A base image made from Debian packages, for machines that cannot reach a registry.

The recipe is `images/base/debian.sh`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import docker

from comfy_errors import OperationFailedError, UnavailableError
from comfy_errors.names import in_lines
from runpod_comfy.images.docker.stream import engine_errors, read_messages
from runpod_comfy.images.registry.names import split_reference
from runpod_comfy.project import IMAGES
from runpod_comfy.sources.index.pip_settings import read_pip_settings

RECIPE = IMAGES / "base" / "debian.sh"
DEFAULT_TAG = "runpod-comfy-base:local"

_LAST_LINES = 12
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
"""Debian's file with all trusted certificates."""
_CONFIGURATION = (
    "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "ENV LANG=C.UTF-8",
    # pip and uv use their own certificates unless one of these is set.
    f"ENV SSL_CERT_FILE={_CERTIFICATES}",
    f"ENV REQUESTS_CA_BUNDLE={_CERTIFICATES}",
    'CMD ["/bin/sh"]',
)
_DEBIAN = "http://deb.debian.org/debian"
"""Debian's own mirrors, for a machine whose apt has none for the release."""
_DEBIAN_SECURITY = "http://deb.debian.org/debian-security"
_ASK_APT = (
    "apt-get",
    "indextargets",
    "--format",
    "$(RELEASE) $(COMPONENT) $(REPO_URI)",
    "Created-By: Packages",
)
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
# No child process or mount outlives this process.
_CONFINED = ("unshare", "--mount", "--pid", "--fork", "--kill-child")


@dataclass(frozen=True, kw_only=True)
class DebianMirrors:
    """The URLs of a release's packages, its updates and its security updates."""

    packages: str
    updates: str | None = None
    security: str | None = None


@dataclass(frozen=True, kw_only=True)
class MadeBase:
    """A base image in an engine. `layer` is the digest of its only layer's uncompressed tar."""

    tag: str
    image_id: str
    layer: str
    size_bytes: int


def find_mirrors(suite: str, mirror: str | None = None) -> DebianMirrors:
    """Only `mirror` if given, else those of this machine's apt, else Debian's own."""
    if mirror:
        return DebianMirrors(packages=mirror)
    try:
        asked = subprocess.run(_ASK_APT, capture_output=True, text=True, check=False)
    except OSError:
        return mirrors_in("", suite)
    return mirrors_in(asked.stdout if asked.returncode == 0 else "", suite)


def mirrors_in(sources: str, suite: str) -> DebianMirrors:
    """The mirrors in apt's list of sources: lines of suite, component and URL."""
    known: dict[str, str] = {}
    for line in sources.splitlines():
        match line.split():
            case [named, "main", address]:
                known.setdefault(named, address.rstrip("/"))
    if suite not in known:
        return DebianMirrors(packages=_DEBIAN, updates=_DEBIAN, security=_DEBIAN_SECURITY)
    return DebianMirrors(
        packages=known[suite],
        updates=known.get(f"{suite}-updates"),
        security=known.get(f"{suite}-security"),
    )


def make_base(
    client: docker.DockerClient,
    *,
    tag: str,
    suite: str,
    mirrors: DebianMirrors,
    ca_bundle: Path | None,
    on_output: Callable[[str], None],
) -> MadeBase:
    """Makes the base image `tag` of Debian's release `suite` in the engine.

    The image trusts the certificates in `ca_bundle`. `on_output` gets each line of the recipe's
    output. Raises UnavailableError if this machine cannot make a base, OperationFailedError if
    making it fails.
    """
    _require_tools()
    with tempfile.TemporaryDirectory(prefix="runpod-comfy-base-") as folder:
        root, archive = Path(folder, "root"), Path(folder, "base.tar")
        root.mkdir()
        inputs = {
            "ROOT": str(root),
            "SUITE": suite,
            "MIRROR": mirrors.packages,
            "UPDATES_MIRROR": mirrors.updates or "",
            "SECURITY_MIRROR": mirrors.security or "",
            "CA_BUNDLE": str(ca_bundle.absolute()) if ca_bundle else "",
            "OUTPUT": str(archive),
        }
        _run_recipe(inputs, on_output)
        return _import(client, archive, tag)


def trusted_certificates(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file of certificates that this machine trusts: pip's configured one, else OpenSSL's, else
    Debian's.
    """
    named = (read_pip_settings(environment).cert, environment.get("SSL_CERT_FILE"), _CERTIFICATES)
    return next((Path(name) for name in named if name and Path(name).is_file()), None)


def _require_tools() -> None:
    path = _search_path()
    missing = [
        name for name in ("debootstrap", "unshare", "chroot") if not shutil.which(name, path=path)
    ]
    if missing:
        raise UnavailableError(
            f"making a base image needs {' and '.join(missing)}, which this machine does not have",
            remedy="On Debian or Ubuntu: `apt-get install debootstrap debian-archive-keyring`. "
            "Elsewhere, name an image with the lock's Python instead: --base IMAGE.",
        )
    if os.geteuid() != 0:
        raise UnavailableError(
            "only root can make a base image: its files belong to root, and it contains devices",
            remedy="Run it with sudo, or name an image with the lock's Python: --base IMAGE.",
        )


def _run_recipe(inputs: Mapping[str, str], on_output: Callable[[str], None]) -> None:
    last: deque[str] = deque(maxlen=_LAST_LINES)
    # Only proxies: other variables of this machine, such as TMPDIR, do not apply inside Debian.
    proxies = {name: value for name, value in os.environ.items() if name.lower() in _PROXIES}
    process = subprocess.Popen(
        [*_CONFINED, "sh", str(RECIPE)],
        env={"PATH": _search_path(), "HOME": "/root", **proxies, **inputs},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            last.append(line.rstrip())
            on_output(line.rstrip())
        code = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if code != 0:
        raise OperationFailedError(
            f"the base image could not be made, {RECIPE.name} ended with {code}:"
            f"{in_lines(list(last))}",
            remedy="If packages could not be downloaded, name a mirror that this machine can "
            "reach: --mirror URL. `--verbose` shows the whole output.",
        )


def _search_path() -> str:
    """System tools are not on every user's PATH."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin"


def _import(client: docker.DockerClient, archive: Path, tag: str) -> MadeBase:
    doing = f"importing {tag}"
    repository, label = split_reference(tag)
    with engine_errors(doing):
        answer = client.api.import_image_from_file(
            str(archive), repository=repository, tag=label, changes=list(_CONFIGURATION)
        )
        lines = [json.loads(line) for line in answer.splitlines() if line.strip()]
        for _ in read_messages(lines, doing=doing):
            pass
        about = client.images.get(f"{repository}:{label}").attrs
    return MadeBase(
        tag=f"{repository}:{label}",
        image_id=about["Id"],
        layer=about["RootFS"]["Layers"][0],
        size_bytes=about["Size"],
    )
