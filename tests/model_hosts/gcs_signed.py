"""Signed URLs of Google Cloud Storage, version 4, which its XML API takes.

The contract is https://cloud.google.com/storage/docs/authentication/canonical-requests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.http_server import Request

_ALGORITHM = "GOOG4-RSA-SHA256"


def signer(request: Request, keys: Mapping[str, str]) -> tuple[str | None, str]:
    """The account that signed the URL of a request, of those whose public `keys` are given; or
    None, and the code of the refusal, which is empty for a URL that has no signature.
    """
    path, _, raw_query = request.path.partition("?")
    query = dict(parse_qsl(raw_query))
    if "X-Goog-Signature" not in query:
        return None, ""
    account, _, scope = query["X-Goog-Credential"].partition("/")
    pairs = sorted(it for it in raw_query.split("&") if not it.startswith("X-Goog-Signature="))
    names = query["X-Goog-SignedHeaders"]
    headers = "".join(f"{it}:{request.headers[it]}\n" for it in names.split(";"))
    canonical = "\n".join(
        (request.method, path, "&".join(pairs), headers, names, "UNSIGNED-PAYLOAD")
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    signed = "\n".join((_ALGORITHM, query["X-Goog-Date"], scope, digest))
    try:
        key = serialization.load_pem_public_key(keys[account].encode())
        assert isinstance(key, rsa.RSAPublicKey)
        signature = bytes.fromhex(query["X-Goog-Signature"])
        key.verify(signature, signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    except (KeyError, ValueError, InvalidSignature):
        return None, "SignatureDoesNotMatch"
    at = datetime.strptime(query["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if datetime.now(UTC) > at + timedelta(seconds=int(query["X-Goog-Expires"])):
        return None, "ExpiredToken"
    return account, ""
