"""An S3 server: moto's, behind a server of ours that checks what moto does not.

That is the signature and the time of presigned URLs, the keys of other requests, who may read what
without any, `If-Range`, and the checksum of files in parts. It also breaks connections and counts
what it sends. What moto knows belongs to the process: one double at a time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
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
_HEADER_KEY = re.compile(r"Credential=([^/]+)/")
_PARTS = re.compile(r'-(\d+)"$')
_FRAMING = {"connection", "content-encoding", "content-length", "date", "server"}


@dataclass
class S3Double:
    """`public` are the buckets that all may read. `answers` are given to the next requests; `cuts`
    are how many bytes are sent of the next files, None for all; `rate` limits each connection, in
    bytes per second; `sent` gets the size of each piece of them that is sent. `asked` are the
    requests that it got.
    """

    moto: str
    url: str = ""
    region: str = "eu-central-1"
    public: set[str] = field(default_factory=set)
    answers: list[Answer] = field(default_factory=list)
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
        path, _, raw_query = request.path.partition("?")
        bucket = unquote(path).split("/")[1]
        query = dict(parse_qsl(raw_query, keep_blank_values=True))
        refused = self._refusal(request, bucket, query)
        if refused is not None:
            return refused
        is_file = path.count("/") > 1 and not {"uploadId", "list-type"} & query.keys()
        if request.method == "GET" and is_file:
            return self._file(request)
        return self._forwarded(request)

    def _refusal(self, request: Request, bucket: str, query: Mapping[str, str]) -> Answer | None:
        header = _HEADER_KEY.search(request.headers["Authorization"] or "")
        if "X-Amz-Signature" in query:
            key_id = query["X-Amz-Credential"].split("/")[0]
            fault = self._fault(request, query)
            if fault is not None:
                return fault
        elif header is not None:
            key_id = header[1]
        else:
            is_read = request.method in ("GET", "HEAD") and bucket in self.public
            return None if is_read else _error(403, "AccessDenied", "Access Denied")
        if key_id not in _KEYS:
            message = "The AWS Access Key Id you provided does not exist in our records."
            return _error(403, "InvalidAccessKeyId", message)
        if key_id == OUTSIDER_ID and bucket not in self.public:
            return _error(403, "AccessDenied", "Access Denied")
        return None

    def _fault(self, request: Request, query: Mapping[str, str]) -> Answer | None:
        """What is wrong with a presigned URL."""
        signed_at = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        until = signed_at + timedelta(seconds=int(query["X-Amz-Expires"]))
        is_early = self._expired_before is not None and signed_at < self._expired_before
        if is_early or datetime.now(UTC) > until:
            return _error(403, "AccessDenied", "Request has expired")
        if query["X-Amz-Credential"].split("/")[2] != self.region:
            message = f"the region is wrong; expecting '{self.region}'"
            answer = _error(400, "AuthorizationQueryParametersError", message)
            region = {"x-amz-bucket-region": self.region}
            return replace(answer, headers={**answer.headers, **region})
        secret = _KEYS.get(query["X-Amz-Credential"].split("/")[0])
        if secret and not hmac.compare_digest(
            _signature(request, secret), query["X-Amz-Signature"]
        ):
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
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        double = S3Double("http://{}:{}".format(*server.get_host_and_port()))
        requests.post(f"{double.moto}/moto-api/reset", timeout=60)
        with serve(answering=double.answer) as double.url:
            yield double
    finally:
        server.stop()


def _signature(request: Request, secret: str) -> str:
    """Of a presigned URL, by https://docs.aws.amazon.com/AmazonS3/latest/API/
    sigv4-query-string-auth.html.
    """
    path, _, raw_query = request.path.partition("?")
    pairs = [it for it in raw_query.split("&") if not it.startswith("X-Amz-Signature=")]
    query = dict(parse_qsl(raw_query, keep_blank_values=True))
    names = query["X-Amz-SignedHeaders"]
    headers = "".join(f"{name}:{request.headers[name]}\n" for name in names.split(";"))
    canonical = [request.method, path, "&".join(sorted(pairs)), headers, names, "UNSIGNED-PAYLOAD"]
    scope = query["X-Amz-Credential"].split("/")[1:]
    digest = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    signed = ["AWS4-HMAC-SHA256", query["X-Amz-Date"], "/".join(scope), digest]
    return hmac.new(key, "\n".join(signed).encode(), "sha256").hexdigest()


def _error(status: int, code: str, message: str) -> Answer:
    body = (
        f"<?xml version='1.0' encoding='UTF-8'?>\n"
        f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    )
    return Answer(status=status, headers={"Content-Type": "application/xml"}, body=body.encode())
