"""An S3 server: moto's, behind a server of ours that checks what moto does not.

That is the signature and the time of requests, who may read what without any, `If-Range`, and the
checksum of files in parts. It also breaks connections and counts what it sends. What moto knows
belongs to the process: one double at a time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote

import boto3
import requests
from botocore.config import Config
from moto.server import ThreadedMotoServer

from tests.http_server import Answer, Request, ranged, serve

KEY_ID, SECRET_KEY = "AKIAIOSFODNN7EXAMPLE", "a-secret-key-of-a-test"
OUTSIDER_ID, OUTSIDER_KEY = "AKIAI44QH8DHBEXAMPLE", "a-secret-key-without-any-rights"
_KEYS = {KEY_ID: SECRET_KEY, OUTSIDER_ID: OUTSIDER_KEY}
_FIELD = re.compile(r"(\w+)=([^, ]+)")
_PARTS = re.compile(r'-(\d+)"$')
_FRAMING = {"connection", "content-encoding", "content-length", "date", "server"}


@dataclass
class S3Double:
    """`public` are the buckets that all may read. `answers` are given to the next requests, and
    `upload_answers` to the next ones that send a file, None for one that is taken; `cuts`
    are how many bytes are sent of the next files, None for all; `rate` limits each connection, in
    bytes per second; `sent` gets the size of each piece of them that is sent. `asked` are the
    requests that it got.
    """

    moto: str
    url: str = ""
    region: str = "eu-central-1"
    public: set[str] = field(default_factory=set)
    answers: list[Answer] = field(default_factory=list)
    upload_answers: list[Answer | None] = field(default_factory=list)
    cuts: list[int | None] = field(default_factory=list)
    rate: float | None = None
    asked: list[Request] = field(default_factory=list)
    sent: Callable[[int], object] = lambda _: None
    _expired_before: datetime | None = None
    _contents: dict[str, bytes] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        """The environment of who may read and write everything."""
        return {
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": self.region,
        }

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=self.region,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET_KEY,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )

    def bucket(self, name: str, *, is_public: bool = False) -> None:
        place = {"LocationConstraint": self.region}
        self.client.create_bucket(Bucket=name, CreateBucketConfiguration=place)
        if is_public:
            self.public.add(name)
            # Amazon needs only the first action.
            statement = {
                "Effect": "Allow",
                "Principal": "*",
                "Action": ["s3:GetObject", "s3:HeadObject"],
                "Resource": f"arn:aws:s3:::{name}/*",
            }
            policy = {"Version": "2012-10-17", "Statement": [statement]}
            self.client.put_bucket_policy(Bucket=name, Policy=json.dumps(policy))

    def put(self, bucket: str, key: str, content: bytes, **options: object) -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=content, **options)

    def expire(self) -> None:
        """No URL that was signed before is valid any more."""
        now = datetime.now(UTC)
        # Signatures know no parts of a second.
        self._expired_before = now.replace(microsecond=0) + timedelta(seconds=1)
        time.sleep((self._expired_before - now).total_seconds())

    def answer(self, request: Request) -> Answer:
        self.asked.append(request)
        if self.answers:
            return self.answers.pop(0)
        if request.method == "PUT" and self.upload_answers:
            answer = self.upload_answers.pop(0)
            if answer is not None:
                return answer
        path, _, raw_query = request.path.partition("?")
        bucket = unquote(path).split("/")[1]
        query = dict(parse_qsl(raw_query, keep_blank_values=True))
        refused = self._refusal(request, bucket)
        if refused is not None:
            return refused
        is_file = path.count("/") > 1 and not {"uploadId", "list-type"} & query.keys()
        if request.method == "GET" and is_file:
            return self._file(request)
        return self._forwarded(request)

    def _refusal(self, request: Request, bucket: str) -> Answer | None:
        signed = _Signed.of(request)
        if signed is None:
            is_read = request.method in ("GET", "HEAD") and bucket in self.public
            return None if is_read else _error(403, "AccessDenied", "Access Denied")
        fault = self._fault(request, signed)
        if fault is not None:
            return fault
        if signed.key_id not in _KEYS:
            message = "The AWS Access Key Id you provided does not exist in our records."
            return _error(403, "InvalidAccessKeyId", message)
        if signed.key_id == OUTSIDER_ID and bucket not in self.public:
            return _error(403, "AccessDenied", "Access Denied")
        return None

    def _fault(self, request: Request, signed: _Signed) -> Answer | None:
        """What is wrong with a signature."""
        at = datetime.strptime(signed.date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        is_early = self._expired_before is not None and at < self._expired_before
        if is_early or datetime.now(UTC) > at + timedelta(seconds=signed.valid_s):
            if signed.is_presigned:
                return _error(403, "AccessDenied", "Request has expired")
            message = "The difference between the request time and the server's time is too large."
            return _error(403, "RequestTimeTooSkewed", message)
        if signed.scope[1] != self.region:
            message = f"the region '{signed.scope[1]}' is wrong; expecting '{self.region}'"
            where = "Query" if signed.is_presigned else "Header"
            answer = _error(400, f"Authorization{where}Malformed", message)
            region = {"x-amz-bucket-region": self.region}
            return replace(answer, headers={**answer.headers, **region})
        secret = _KEYS.get(signed.key_id)
        if secret and not hmac.compare_digest(signed.right(request, secret), signed.signature):
            message = (
                "The request signature we calculated does not match the signature you provided."
            )
            return _error(403, "SignatureDoesNotMatch", message)
        return None

    def _file(self, request: Request) -> Answer:
        about = self._forwarded(replace(request, method="HEAD"), without="Range")
        if about.status != 200:
            return self._forwarded(request)
        etag = about.headers["ETag"]
        if etag not in self._contents:
            whole = self._forwarded(request, without="Range")
            self._contents = {etag: bytes(whole.body)}
        answer = ranged(request, self._contents[etag], etag=etag)
        kept = {
            name: value
            for name, value in about.headers.items()
            if answer.status == 200 or not name.lower().startswith("x-amz-checksum")
        }
        return replace(
            answer,
            headers={**kept, **answer.headers, "Content-Length": str(len(answer.body))},
            body=answer.body[: self.cuts.pop(0) if self.cuts else None],
            rate=self.rate,
            sent=self.sent,
        )

    def _forwarded(self, request: Request, *, without: str = "") -> Answer:
        response = requests.request(
            request.method,
            f"{self.moto}{request.path}",
            headers={name: it for name, it in request.headers.items() if name != without},
            data=request.body,
            timeout=60,
            allow_redirects=False,
        )
        headers = {
            name: value for name, value in response.headers.items() if name.lower() not in _FRAMING
        }
        if request.method == "HEAD":
            headers["Content-Length"] = response.headers.get("Content-Length", "0")
            parts = _PARTS.search(headers.get("ETag", ""))
            if parts and (checksum := headers.get("x-amz-checksum-sha256")):
                headers["x-amz-checksum-sha256"] = f"{checksum}-{parts[1]}"
                headers["x-amz-checksum-type"] = "COMPOSITE"
        return Answer(status=response.status_code, headers=headers, body=response.content)


@contextmanager
def s3() -> Iterator[S3Double]:
    double = S3Double(_moto())
    requests.post(f"{double.moto}/moto-api/reset", timeout=60)
    with serve(answering=double.answer) as double.url:
        yield double


@cache
def _moto() -> str:
    """The address of this process's moto, which ends with it: to stop one takes half a second."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    return "http://{}:{}".format(*server.get_host_and_port())


@dataclass(frozen=True, kw_only=True)
class _Signed:
    """A signature, version 4, in the URL or in the headers: https://docs.aws.amazon.com/AmazonS3/
    latest/API/sig-v4-authenticating-requests.html.
    """

    key_id: str
    scope: list[str]
    names: str
    signature: str
    date: str
    valid_s: int
    payload: str
    is_presigned: bool

    @staticmethod
    def of(request: Request) -> _Signed | None:
        told = dict(_FIELD.findall(request.headers["Authorization"] or ""))
        date, valid_s = request.headers["X-Amz-Date"], 900
        payload = request.headers["X-Amz-Content-SHA256"]
        is_presigned = "X-Amz-Signature=" in request.path
        if is_presigned:
            query = dict(parse_qsl(request.path.partition("?")[2], keep_blank_values=True))
            told = {name.removeprefix("X-Amz-"): text for name, text in query.items()}
            date, valid_s, payload = told["Date"], int(told["Expires"]), "UNSIGNED-PAYLOAD"
        if "Signature" not in told:
            return None
        key_id, *scope = told["Credential"].split("/")
        return _Signed(
            key_id=key_id,
            scope=scope,
            names=told["SignedHeaders"],
            signature=told["Signature"],
            date=str(date),
            valid_s=valid_s,
            payload=str(payload),
            is_presigned=is_presigned,
        )

    def right(self, request: Request, secret: str) -> str:
        """The signature that the request has to have."""
        path, _, raw_query = request.path.partition("?")
        pairs = [it if "=" in it else f"{it}=" for it in raw_query.split("&") if it]
        pairs = [it for it in pairs if not it.startswith("X-Amz-Signature=")]
        headers = "".join(f"{it}:{request.headers[it].strip()}\n" for it in self.names.split(";"))
        canonical = [
            *(request.method, path, "&".join(sorted(pairs)), headers, self.names, self.payload)
        ]
        digest = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
        key = f"AWS4{secret}".encode()
        for part in self.scope:
            key = hmac.digest(key, part.encode(), "sha256")
        signed = ["AWS4-HMAC-SHA256", self.date, "/".join(self.scope), digest]
        return hmac.new(key, "\n".join(signed).encode(), "sha256").hexdigest()


def _error(status: int, code: str, message: str) -> Answer:
    body = (
        f"<?xml version='1.0' encoding='UTF-8'?>\n"
        f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    )
    return Answer(status=status, headers={"Content-Type": "application/xml"}, body=body.encode())
