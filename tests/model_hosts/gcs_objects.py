"""What the double of Google Cloud Storage keeps: buckets, the generations of their objects, and the
tokens that it gave to service accounts.
"""

from __future__ import annotations

import base64
import hashlib
import json
import mmap
import secrets
import time
from dataclasses import dataclass, field
from typing import Literal

import google_crc32c
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import exceptions, jwt

Access = Literal["public", "private", "open"]
"""Who reads and writes a bucket: all read and members write, only members do both, or all do."""

# Of every claim, wherever it is sent.
_AUDIENCE = "https://oauth2.googleapis.com/token"
_SCOPES = {
    f"https://www.googleapis.com/auth/{name}"
    for name in (
        "cloud-platform",
        "devstorage.read_only",
        "devstorage.read_write",
        "devstorage.full_control",
    )
}


@dataclass(frozen=True, kw_only=True)
class Object:
    """One generation of an object. `encoding` is "gzip" if its content is compressed. With
    `is_public` all may read it, also in a private bucket.
    """

    bucket: str
    name: str
    generation: int
    content: bytes | mmap.mmap
    crc32c: str
    md5: str
    encoding: str | None = None
    content_type: str = "application/octet-stream"
    is_public: bool = False

    @property
    def resource(self) -> dict[str, str]:
        """Its metadata: numbers are strings, as the API has them."""
        told = {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": "1",
            "contentType": self.content_type,
            "storageClass": "STANDARD",
            "size": str(len(self.content)),
            "md5Hash": self.md5,
            "crc32c": self.crc32c,
            "etag": self.etag,
        }
        return told | ({"contentEncoding": self.encoding} if self.encoding else {})

    @property
    def etag(self) -> str:
        """Without quotes, as the API sends it."""
        return base64.b64encode(self.generation.to_bytes(8, "little")).decode()


@dataclass
class Bucket:
    """The current generation of each object; what was replaced is gone.

    With `is_uniform` access, no object has an access control list of its own.
    """

    name: str
    access: Access
    is_uniform: bool = False
    objects: dict[str, Object] = field(default_factory=dict)

    def put(
        self,
        name: str,
        content: bytes | mmap.mmap,
        *,
        encoding: str | None = None,
        content_type: str = "application/octet-stream",
        is_public: bool = False,
    ) -> Object:
        before = self.objects.get(name)
        checksum = google_crc32c.Checksum()
        md5 = hashlib.md5()
        for at in range(0, len(content), 1 << 20):
            checksum.update(content[at : at + (1 << 20)])
            md5.update(content[at : at + (1 << 20)])
        self.objects[name] = Object(
            bucket=self.name,
            name=name,
            generation=max(time.time_ns() // 1000, before.generation + 1 if before else 0),
            content=content,
            crc32c=base64.b64encode(checksum.digest()).decode(),
            md5=base64.b64encode(md5.digest()).decode(),
            encoding=encoding,
            content_type=content_type,
            is_public=is_public,
        )
        return self.objects[name]


@dataclass
class Accounts:
    """Service accounts, and the tokens that they got for their keys."""

    lifetime_s: int = 3600
    keys: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, tuple[str, float]] = field(default_factory=dict)
    given: int = 0

    def key_file(self, email: str, url: str) -> dict[str, str]:
        """The content of the key file of a new account."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self.keys[email] = public.decode()
        return {
            "type": "service_account",
            "project_id": "comfy",
            "private_key_id": secrets.token_hex(20),
            "private_key": private.decode(),
            "client_email": email,
            "token_uri": f"{url}/token",
        }

    def token(self, assertion: str) -> dict[str, object] | None:
        """The answer to a claim (RFC 7523), None for one that is not valid."""
        try:
            email = jwt.decode(assertion, verify=False)["iss"]
            claim = jwt.decode(assertion, certs=self.keys[email], audience=_AUDIENCE)
        except (exceptions.GoogleAuthError, ValueError, KeyError, json.JSONDecodeError):
            return None
        if not _SCOPES & set(claim.get("scope", "").split()):
            return None
        token = f"ya29.{secrets.token_urlsafe(16)}"
        self.tokens[token] = email, time.time() + self.lifetime_s
        self.given += 1
        return {"access_token": token, "expires_in": self.lifetime_s, "token_type": "Bearer"}

    def owner(self, token: str) -> str | None:
        email, until = self.tokens.get(token, ("", 0.0))
        return email if time.time() < until else None
