"""RunPod's side of a worker, over HTTP: job-take, job-take-batch, job-stop, job-done, job-stream
and ping.

It keeps the contract of RunPod's SDK 1.12 (rp_job.py, rp_http.py, rp_ping.py) and of RunPod's
documents. It refuses a request that breaks it, and each refusal fails the test.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests.http_server import Answer, Request, serve

KEY = "key of the endpoint"
# What the platform takes for a job of /run; it reports a larger one as completed, without data.
RESULT_BYTES = 10 * 1000 * 1000
CHUNK_BYTES = 1000 * 1000

_ROOT = "/v2/endpoint"
# What RunPod has in its addresses, and the SDK keeps.
_QUERY = "gpu=NVIDIA+L4"
_OF_WORKERS = re.compile(rf"{_ROOT}/(job-take|job-take-batch|job-stop|ping)/([^/]+)")
_OF_JOBS = re.compile(rf"{_ROOT}/(job-done|job-stream)/([^/]+)/([^/]+)")
_FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
# Older ones could starve all workers but one.
_OLDEST_SDK = (1, 10, 1)
# How long RunPod may hold a request open is not documented; the SDK gives up after 90 seconds.
POLL_S = 0.5


@dataclass(kw_only=True)
class CloudJob:
    """A job as a client of the endpoint sees it.

    `deliveries` are the workers that took it, in order. `ignored` counts what arrived after it was
    cancelled.
    """

    id: str
    input: Any
    status: str = "IN_QUEUE"
    output: Any = None
    error: str | None = None
    stops_worker: bool = False
    deliveries: list[str] = field(default_factory=list)
    progress: list[Any] = field(default_factory=list)
    stream: list[Any] = field(default_factory=list)
    ignored: int = 0
    heard_of: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Ping:
    """`at` is in seconds of the monotonic clock; `jobs` are those that the worker says it runs."""

    at: float
    jobs: frozenset[str]


class BreachError(Exception):
    """A request that breaks the contract."""

    def __init__(self, sentence: str, *, status: int = 422) -> None:
        super().__init__(sentence)
        self.status = status


class ControlPlane:
    """A queue of jobs and its HTTP interface; use it as `with ControlPlane().served() as cloud`.

    A job whose worker has not pinged for it in `silence_s` seconds goes back into the queue: that
    is how the platform notices a lost worker. A job that a worker takes is `take_s` seconds on its
    way to it, and progress `progress_s` seconds on its way back.
    """

    def __init__(
        self, *, silence_s: float = 60.0, take_s: float = 0.0, progress_s: float = 0.0
    ) -> None:
        self.jobs: dict[str, CloudJob] = {}
        self.pings: defaultdict[str, list[Ping]] = defaultdict(list)
        self.batch_sizes: list[int] = []
        self.breaches: list[str] = []
        self._silence_s = silence_s
        self._take_s = take_s
        self._progress_s = progress_s
        self._stops: dict[str, list[str]] = {}
        self._changed = threading.Condition()
        self._url = ""

    @contextlib.contextmanager
    def served(self) -> Iterator[ControlPlane]:
        with serve(answering=self._answer) as self._url:
            yield self
        self._fail_for_breaches()

    def variables(self, worker: str) -> dict[str, str]:
        """The environment that the platform gives the worker with this id."""
        root = self._url + _ROOT
        return {
            "RUNPOD_AI_API_KEY": KEY,
            "RUNPOD_ENDPOINT_ID": "endpoint",
            "RUNPOD_POD_ID": worker,
            "RUNPOD_PING_INTERVAL": "1000",
            "RUNPOD_WEBHOOK_GET_JOB": f"{root}/job-take/$ID?{_QUERY}",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{root}/job-done/$RUNPOD_POD_ID/$ID?{_QUERY}",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{root}/job-stream/$RUNPOD_POD_ID/$ID?{_QUERY}",
            "RUNPOD_WEBHOOK_PING": f"{root}/ping/$RUNPOD_POD_ID?{_QUERY}",
        }

    def send(self, name: str, **document: Any) -> CloudJob:
        """Queues a job with this id and input."""
        return self.send_all({name: document})[0]

    def send_all(self, documents: dict[str, Any]) -> list[CloudJob]:
        """Queues jobs at once: id → input."""
        jobs = [CloudJob(id=name, input=document) for name, document in documents.items()]
        with self._changed:
            self.jobs.update((job.id, job) for job in jobs)
            self._changed.notify_all()
        return jobs

    def cancel(self, job: CloudJob) -> None:
        """Cancels a job, as a client does with /cancel, and the platform at its timeout. A job that
        has ended stays as it is.
        """
        with self._changed:
            if job.status in _FINAL:
                return
            if job.status == "IN_PROGRESS":
                self._stops.setdefault(job.deliveries[-1], []).append(job.id)
            job.status = "CANCELLED"
            self._changed.notify_all()

    def until(self, holds: Callable[[], object], *, within_s: float = 60.0) -> None:
        """Waits until `holds()` is true; fails at the first breach."""
        with self._changed:
            self._changed.wait_for(lambda: self.breaches or holds(), timeout=within_s)
            self._fail_for_breaches()
            if not holds():
                open_jobs = [job for job in self.jobs.values() if job.status not in _FINAL]
                pytest.fail(f"it did not happen in {within_s:g} s: {open_jobs}")

    def result_of(self, job: CloudJob, *, within_s: float = 60.0) -> CloudJob:
        """The job, once it has ended."""
        self.until(lambda: job.status in _FINAL, within_s=within_s)
        return job

    def _fail_for_breaches(self) -> None:
        breaches, self.breaches = self.breaches, []
        if breaches:
            pytest.fail("; ".join(breaches))

    def _answer(self, request: Request) -> Answer:
        try:
            return self._answered(request)
        except BreachError as breach:
            with self._changed:
                self.breaches.append(f"{request.method} {request.path}: {breach}")
                self._changed.notify_all()
            return Answer(status=breach.status, body=str(breach).encode())

    def _answered(self, request: Request) -> Answer:
        address = urlsplit(request.path)
        query = {name: values[-1] for name, values in parse_qs(address.query).items()}
        if request.headers["Authorization"] != KEY:
            raise BreachError("it has not the key of RUNPOD_AI_API_KEY", status=401)
        if query.pop("gpu", None) != "NVIDIA L4":
            raise BreachError("it lost the query of its address")
        if match := _OF_WORKERS.fullmatch(address.path):
            what, worker = match.groups()
            if request.method != "GET":
                raise BreachError("it is not a GET", status=405)
            take = partial(self._take, in_batches=what == "job-take-batch")
            answers = {"job-stop": self._stop, "ping": self._ping}
            return answers.get(what, take)(worker, query)
        if match := _OF_JOBS.fullmatch(address.path):
            what, worker, job = map(unquote, match.groups())
            if request.method != "POST":
                raise BreachError("it is not a POST", status=405)
            if request.headers["X-Request-ID"] != job:
                raise BreachError("X-Request-ID is not the job's id")
            if query.keys() != {"isStream"} or query["isStream"] not in ("true", "false"):
                raise BreachError("isStream is not true or false")
            if request.headers.get_content_type() != "application/x-www-form-urlencoded":
                raise BreachError("it has another content type than the SDK's")
            document = _object(request.body)
            if document.get("status") == "IN_PROGRESS":
                time.sleep(self._progress_s)
            with self._changed:
                if what == "job-done":
                    self._done(self._held(worker, job), document, size=len(request.body))
                else:
                    self._streamed(self._held(worker, job), document, size=len(request.body))
                self._changed.notify_all()
            return Answer()
        raise BreachError("RunPod has no such address", status=404)

    def _take(self, worker: str, query: dict[str, str], *, in_batches: bool) -> Answer:
        size = int(query.pop("batch_size")) if in_batches else 1
        if query.keys() != {"job_in_progress"} or query["job_in_progress"] not in ("0", "1"):
            raise BreachError("job_in_progress is not 0 or 1")
        if in_batches and size < 2:
            raise BreachError("a batch of one is taken from job-take")
        ends = time.monotonic() + POLL_S
        with self._changed:
            held = [job.id for job in self.jobs.values() if _runs_on(job, worker)]
            if query["job_in_progress"] == "0" and held:
                raise BreachError(f"the worker says that it runs nothing, and holds {held}")
            if in_batches:
                self.batch_sizes.append(size)
            while not (given := self._queued()[:size]):
                if not self._changed.wait(ends - time.monotonic()):
                    return Answer(status=204)
            for job in given:
                job.status = "IN_PROGRESS"
                job.deliveries.append(worker)
                job.heard_of = time.monotonic()
            self._changed.notify_all()
        time.sleep(self._take_s)
        documents = [{"id": job.id, "input": job.input, "webhook": None} for job in given]
        return _json(documents if in_batches else documents[0])

    def _queued(self) -> list[CloudJob]:
        for job in self.jobs.values():
            is_lost = time.monotonic() - job.heard_of > self._silence_s
            if job.status == "IN_PROGRESS" and is_lost:
                job.status = "IN_QUEUE"
        return [job for job in self.jobs.values() if job.status == "IN_QUEUE"]

    def _stop(self, worker: str, query: dict[str, str]) -> Answer:
        if query:
            raise BreachError(f"it has {query}")
        with self._changed:
            self._changed.wait_for(lambda: self._stops.get(worker), timeout=POLL_S)
            stopped = self._stops.pop(worker, [])
        return _json({"jobsToStop": stopped}) if stopped else Answer(status=204)

    def _ping(self, worker: str, query: dict[str, str]) -> Answer:
        version = tuple(int(part) for part in query.pop("runpod_version").split(".")[:3])
        if version < _OLDEST_SDK:
            raise BreachError(f"SDK {version} is too old")
        names = frozenset(query.pop("job_id", "").split(",")) - {""}
        if query:
            raise BreachError(f"it has {query}")
        with self._changed:
            for name in names:
                job = self.jobs.get(name)
                if job is None or worker not in job.deliveries:
                    raise BreachError(f"the worker never took job {name}")
                if _runs_on(job, worker):
                    job.heard_of = time.monotonic()
            self.pings[worker].append(Ping(at=time.monotonic(), jobs=names))
            self._changed.notify_all()
        return Answer()

    def _held(self, worker: str, name: str) -> CloudJob:
        job = self.jobs.get(name)
        if job is None or job.deliveries[-1:] != [worker]:
            raise BreachError(f"job {name} is not this worker's", status=404)
        return job

    def _done(self, job: CloudJob, document: dict[str, Any], *, size: int) -> None:
        is_progress = document.get("status") == "IN_PROGRESS"
        if job.status == "CANCELLED":
            # It was on its way.
            job.ignored += 1
            return
        if job.status != "IN_PROGRESS":
            # Progress would put an ended job back to IN_PROGRESS, for ever.
            what = "progress" if is_progress else "a second result"
            raise BreachError(f"{what} of job {job.id}, which is {job.status}")
        if is_progress:
            if document.keys() != {"status", "output"}:
                raise BreachError(f"progress has the keys {sorted(document)}")
            job.progress.append(document["output"])
            return
        keys = document.keys() - {"stopPod"}
        if not keys or not keys <= {"output", "error"}:
            raise BreachError(f"a result has the keys {sorted(document)}")
        error = document.get("error")
        if "error" in document and not (isinstance(error, str) and error):
            raise BreachError(f"the error is not a sentence: {error!r}")
        if size > RESULT_BYTES:
            raise BreachError(f"a result of {size} bytes would vanish", status=413)
        job.status = "FAILED" if error else "COMPLETED"
        job.output, job.error = document.get("output"), error
        job.stops_worker = bool(document.get("stopPod"))

    def _streamed(self, job: CloudJob, document: dict[str, Any], *, size: int) -> None:
        if document.keys() not in ({"output"}, {"error"}):
            raise BreachError(f"a chunk has the keys {sorted(document)}")
        if size > CHUNK_BYTES:
            raise BreachError(f"a chunk has {size} bytes", status=413)
        if job.status == "CANCELLED":
            job.ignored += 1
        elif job.status != "IN_PROGRESS":
            raise BreachError(f"a chunk of job {job.id}, which is {job.status}")
        else:
            job.stream.append(document.get("output", document.get("error")))


def _runs_on(job: CloudJob, worker: str) -> bool:
    return job.status == "IN_PROGRESS" and job.deliveries[-1] == worker


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise BreachError(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BreachError("the body is not a JSON object")
    return document


def _json(document: Any) -> Answer:
    headers = {"Content-Type": "application/json"}
    return Answer(headers=headers, body=json.dumps(document).encode())
