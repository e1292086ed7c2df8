"""Google Cloud Storage's JSON API, as a process: `python -m tests.model_hosts.gcs_server ADDRESS`.

It writes its URL to standard output and ends when its standard input does. The contract is
https://cloud.google.com/storage/docs/json_api, and what google-cloud-storage 3 relies on. Tests
tell it what to do at `/control`, with the name of a method of `Control` and its arguments.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import mmap
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from tests.http_server import Answer, Request, ranged, serve
from tests.model_hosts.gcs_objects import Access, Accounts, Bucket, Object
from tests.model_hosts.gcs_signed import signer

_OBJECT = re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/([^/]+)")
_BUCKET = re.compile(r"/storage/v1/b/([^/]+)(/iam/testPermissions)?")
_XML_OBJECT = re.compile(r"/([a-z0-9._-]+)/(.+)")
_UPLOAD = re.compile(r"(?:/resumable)?/upload/storage/v1/b/([^/]+)/o")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


class RefusedError(Exception):
    """The API's own error; `reason` is its code in words."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message

    def answer(self, *, in_words: bool) -> Answer:
        """In JSON, or as a line of text in place of a file."""
        if in_words:
            return Answer(
                status=self.status,
                headers={"Content-Type": "text/html; charset=UTF-8"},
                body=self.message.encode(),
            )
        fault = {"message": self.message, "domain": "global", "reason": self.reason}
        error = {"code": self.status, "message": self.message, "errors": [fault]}
        return _json({"error": error}, status=self.status)


@dataclass
class _Session:
    """A resumable upload, and what it has so far."""

    bucket: Bucket
    resource: Mapping[str, Any]
    query: Mapping[str, str]
    content: bytearray = field(default_factory=bytearray)


@dataclass
class Server:
    """`answers` are given to the next requests, `upload_answers` to the next uploads, where None
    takes the upload. The next upload is changed if it `damages`; each takes `delay_s` longer.
    `cuts` are how many bytes are sent of the next files; `rate` limits each connection, in bytes
    per second.
    """

    url: str = ""
    buckets: dict[str, Bucket] = field(default_factory=dict)
    accounts: Accounts = field(default_factory=Accounts)
    members: set[str] = field(default_factory=set)
    answers: list[Answer] = field(default_factory=list)
    upload_answers: list[Answer | None] = field(default_factory=list)
    cuts: list[int | None] = field(default_factory=list)
    damages: bool = False
    delay_s: float = 0.0
    rate: float | None = None
    asked: list[dict[str, str | None]] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    uploads: list[_Session] = field(default_factory=list)

    def answer(self, request: Request) -> Answer:
        parts = urlsplit(request.path)
        query = dict(parse_qsl(parts.query))
        if parts.path == "/control":
            return Control(self).answer(request)
        headers = {name: request.headers[name] for name in ("Authorization", "Range", "User-Agent")}
        self.asked.append({"method": request.method, "path": request.path, **headers})
        if self.answers:
            return self.answers.pop(0)
        try:
            return self._routed(request, parts.path, query)
        except RefusedError as error:
            return error.answer(in_words=query.get("alt") == "media")

    def _routed(self, request: Request, path: str, query: Mapping[str, str]) -> Answer:
        if path == "/token":
            claim = dict(parse_qsl(request.body.decode())).get("assertion", "")
            token = self.accounts.token(claim)
            return _json(token) if token else _json({"error": "invalid_grant"}, status=400)
        if found := _OBJECT.fullmatch(path):
            bucket = self._bucket(unquote(found[1]), request, "get")
            return self._object(request, bucket, unquote(found[2]), query)
        if found := _UPLOAD.fullmatch(path):
            time.sleep(self.delay_s)
            answer = self.upload_answers.pop(0) if self.upload_answers else None
            return answer or self._upload(request, unquote(found[1]), query)
        if found := _BUCKET.fullmatch(path):
            return self._about(request, unquote(found[1]), bool(found[2]))
        if found := _XML_OBJECT.fullmatch(path):
            return self._xml(request, unquote(found[1]), unquote(found[2]))
        return Answer(status=404, body=b"Not Found")

    def _about(self, request: Request, name: str, asks_rights: bool) -> Answer:
        """The bucket itself, or which of the rights in the query the client has in it."""
        bucket = self._bucket(name, request, "get")
        if not asks_rights:
            uniform = {"uniformBucketLevelAccess": {"enabled": bucket.is_uniform}}
            return _json({"kind": "storage#bucket", "name": name, "iamConfiguration": uniform})
        granted = []
        for key, right in parse_qsl(request.path.partition("?")[2]):
            with contextlib.suppress(RefusedError):
                self._bucket(name, request, right.rpartition(".")[2])
                granted += [right] if key == "permissions" else []
        return _json({"kind": "storage#testIamPermissionsResponse", "permissions": granted})

    def _xml(self, request: Request, name: str, key: str) -> Answer:
        """An object, for those who may read it without a token."""
        account, fault = signer(request, self.accounts.keys)
        if fault:
            return Answer(status=403 if fault != "ExpiredToken" else 400, body=_xml_error(fault))
        bucket = self.buckets.get(name)
        found = bucket.objects.get(key) if bucket else None
        if bucket is None or not (
            account in self.members
            or bucket.access != "private"
            or (found is not None and found.is_public)
        ):
            return Answer(status=403, body=_xml_error("AccessDenied"))
        return self._media(request, found) if found else Answer(status=404)

    def _bucket(self, name: str, request: Request, action: str) -> Bucket:
        """The bucket, if whoever asks may do this in it. Raises RefusedError."""
        kind, _, token = (request.headers["Authorization"] or "").partition(" ")
        account = self.accounts.owner(token) if kind == "Bearer" else None
        if kind and account is None:
            raise RefusedError(401, "authError", "Invalid Credentials")
        bucket = self.buckets.get(name)
        if bucket is not None and (
            account in self.members
            or bucket.access == "open"
            or (bucket.access == "public" and action == "get")
        ):
            return bucket
        if bucket is None and (account is not None or action == "get"):
            raise RefusedError(404, "notFound", "The specified bucket does not exist.")
        right = f"storage.objects.{action}"
        message = (
            f"{account or 'Anonymous caller'} does not have {right} access to the Google Cloud "
            f"Storage object. Permission '{right}' denied on resource (or it may not exist)."
        )
        if account is None:
            raise RefusedError(401, "required", message)
        raise RefusedError(403, "forbidden", message)

    def _object(
        self, request: Request, bucket: Bucket, name: str, query: Mapping[str, str]
    ) -> Answer:
        found = bucket.objects.get(name)
        if request.method == "DELETE" and found is not None:
            self._bucket(bucket.name, request, "delete")
            _require(found, query)
            del bucket.objects[name]
            return Answer(status=204)
        wanted = query.get("generation")
        if found is None or wanted not in (None, str(found.generation)):
            version = f"#{wanted}" if wanted else ""
            raise RefusedError(404, "notFound", f"No such object: {bucket.name}/{name}{version}")
        _require(found, query)
        if query.get("alt") == "media":
            return self._media(request, found)
        fields = query.get("fields")
        told = {
            key: value
            for key, value in found.resource.items()
            if not fields or key in fields.split(",")
        }
        return _json(told, etag=found.etag)

    def _media(self, request: Request, found: Object) -> Answer:
        headers = {
            "ETag": found.etag,
            "Content-Type": found.content_type,
            "X-Goog-Generation": str(found.generation),
            "X-Goog-Metageneration": "1",
            "X-Goog-Hash": f"crc32c={found.crc32c},md5={found.md5}",
            "X-Goog-Stored-Content-Length": str(len(found.content)),
            "X-Goog-Stored-Content-Encoding": found.encoding or "identity",
        }
        if found.encoding == "gzip" and "gzip" not in request.headers.get("Accept-Encoding", ""):
            # Decompressed on the way: of unknown length, and without ranges.
            unpacked = {**headers, "Transfer-Encoding": "chunked"}
            return Answer(headers=unpacked, body=gzip.decompress(found.content))
        answer = ranged(request, found.content, etag=found.etag)
        length = {"Content-Length": str(len(answer.body))}
        if found.encoding:
            length["Content-Encoding"] = found.encoding
        return replace(
            answer,
            headers={**answer.headers, **headers, **length},
            body=answer.body[: self.cuts.pop(0) if self.cuts else None],
            rate=self.rate,
            sent=self.sent.append,
        )

    def _upload(self, request: Request, name: str, query: Mapping[str, str]) -> Answer:
        if request.method == "PUT":
            return self._continued(request, self.uploads[int(query["upload_id"])])
        kind = query["uploadType"]
        resource, content = {}, request.body
        if kind == "resumable":
            resource = json.loads(request.body or b"{}")
            resource.setdefault("contentType", request.headers["X-Upload-Content-Type"])
        elif kind == "multipart":
            resource, content = _parts(request)
        resource = {**resource, "name": query.get("name") or resource["name"]}
        bucket = self._bucket(name, request, "create")
        if kind != "resumable":
            return self._stored(bucket, resource, content, query)
        _require(bucket.objects.get(resource["name"]), query)
        self.uploads.append(_Session(bucket, resource, query))
        place = f"{self.url}/upload/storage/v1/b/{quote(name)}/o?uploadType=resumable"
        return Answer(headers={"Location": f"{place}&upload_id={len(self.uploads) - 1}"})

    def _continued(self, request: Request, session: _Session) -> Answer:
        found = _CONTENT_RANGE.fullmatch(request.headers["Content-Range"] or "")
        if found is None:
            raise RefusedError(400, "badRequest", "Invalid Content-Range.")
        if found[1] is not None:
            if int(found[1]) != len(session.content):
                raise RefusedError(503, "backendError", "The range does not follow the last one.")
            session.content += request.body
        if found[3] == str(len(session.content)):
            hashes = dict(
                it.strip().split("=", 1)
                for it in request.headers.get("X-Goog-Hash", "").split(",")
                if it.strip()
            )
            told = {"crc32c": hashes.get("crc32c"), "md5Hash": hashes.get("md5")}
            resource = {**{key: it for key, it in told.items() if it}, **session.resource}
            return self._stored(session.bucket, resource, bytes(session.content), session.query)
        has = {"Range": f"bytes=0-{len(session.content) - 1}"} if session.content else {}
        return Answer(status=308, headers=has)

    def _stored(
        self, bucket: Bucket, resource: Mapping[str, Any], content: bytes, query: Mapping[str, str]
    ) -> Answer:
        """Puts an uploaded object into its bucket. Raises RefusedError."""
        _require(bucket.objects.get(resource["name"]), query)
        if self.damages:
            self.damages, content = False, content[:-1] + b"?"
        acl = query.get("predefinedAcl")
        if acl and bucket.is_uniform:
            message = (
                "Cannot insert legacy ACL for an object when uniform bucket-level access is "
                "enabled."
            )
            raise RefusedError(400, "invalid", message)
        trial = Bucket(bucket.name, bucket.access).put(resource["name"], content)
        for key, has in (("crc32c", trial.crc32c), ("md5Hash", trial.md5)):
            if resource.get(key, has) != has:
                message = f'Provided {key} "{resource[key]}" doesn\'t match calculated "{has}".'
                raise RefusedError(400, "invalid", message)
        made = bucket.put(
            resource["name"],
            content,
            encoding=resource.get("contentEncoding"),
            content_type=resource.get("contentType", "application/octet-stream"),
            is_public=acl == "publicRead",
        )
        return _json(made.resource)


@dataclass
class Control:
    """What a test may tell the server to do."""

    server: Server

    def answer(self, request: Request) -> Answer:
        asked = json.loads(request.body)
        result = getattr(self, asked.pop("do"))(**asked)
        return _json(result)

    def reset(self) -> None:
        self.server.__dict__.update(vars(Server(url=self.server.url)))

    def bucket(self, name: str, access: Access, is_uniform: bool) -> None:
        self.server.buckets[name] = Bucket(name, access, is_uniform)

    def put(self, bucket: str, name: str, path: str, encoding: str | None) -> int:
        with Path(path).open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self.server.buckets[bucket].put(name, content, encoding=encoding).generation

    def delete(self, bucket: str, name: str) -> None:
        del self.server.buckets[bucket].objects[name]

    def account(self, email: str, is_member: bool) -> dict[str, str]:
        if is_member:
            self.server.members.add(email)
        return self.server.accounts.key_file(email, self.server.url)

    def revoke(self) -> None:
        """No token that was given before is valid any more."""
        self.server.accounts.tokens.clear()

    def lifetime(self, seconds: int) -> None:
        self.server.accounts.lifetime_s = seconds

    def next_answers(self, answers: list[dict[str, Any]]) -> None:
        self.server.answers = [_answer(it) for it in answers]

    def next_upload_answers(self, answers: list[dict[str, Any] | None]) -> None:
        self.server.upload_answers = [_answer(it) if it else None for it in answers]

    def objects(self, bucket: str) -> list[dict[str, Any]]:
        return [
            {**it.resource, "content": base64.b64encode(it.content).decode()}
            for it in self.server.buckets[bucket].objects.values()
        ]

    def next_cuts(self, cuts: list[int | None]) -> None:
        self.server.cuts = cuts

    def delay(self, seconds: float) -> None:
        self.server.delay_s = seconds

    def damage(self) -> None:
        self.server.damages = True

    def limit(self, rate: float | None) -> None:
        self.server.rate = rate

    def asked(self) -> list[dict[str, str | None]]:
        return self.server.asked

    def counts(self) -> dict[str, int]:
        return {"sent": sum(self.server.sent), "tokens": self.server.accounts.given}


def _answer(told: Mapping[str, Any]) -> Answer:
    return Answer(**{**told, "body": base64.b64decode(told["body"])})


def _xml_error(code: str) -> bytes:
    return f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code></Error>".encode()


def _require(found: Object | None, query: Mapping[str, str]) -> None:
    """Raises RefusedError if a precondition of the request does not hold."""
    generation = str(found.generation) if found else "0"
    if (
        query.get("ifGenerationMatch", generation) != generation
        or query.get("ifGenerationNotMatch") == generation
        or query.get("ifMetagenerationMatch", "1") != "1"
    ):
        message = "At least one of the pre-conditions you specified did not hold."
        raise RefusedError(412, "conditionNotMet", message)


def _parts(request: Request) -> tuple[dict[str, Any], bytes]:
    """The metadata and the content of a `multipart/related` upload."""
    boundary = request.headers.get_param("boundary", header="Content-Type")
    _, about, content, _ = request.body.split(b"--" + str(boundary).encode())
    resource = json.loads(about.partition(b"\r\n\r\n")[2])
    headers, _, bare = content.partition(b"\r\n\r\n")
    if found := re.search(rb"(?i)content-type: *(\S+)", headers):
        resource.setdefault("contentType", found[1].decode())
    return resource, bare.removesuffix(b"\r\n")


def _json(document: object, *, status: int = 200, etag: str | None = None) -> Answer:
    headers = {"Content-Type": "application/json; charset=UTF-8"}
    headers |= {"ETag": etag} if etag else {}
    return Answer(status=status, headers=headers, body=json.dumps(document).encode())


def main() -> None:
    server = Server()
    with serve(answering=server.answer, address=sys.argv[1]) as server.url:
        print(server.url, flush=True)  # noqa: T201
        sys.stdin.read()


if __name__ == "__main__":
    main()
