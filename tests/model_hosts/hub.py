"""A double of the Hugging Face Hub on loopback, for models, which the real client can use.

The contract is what huggingface_hub 2.4 relies on (`file_download.py`, `utils/_http.py`,
`hf_api.py`) and what huggingface.co answers: Git files come from the Hub itself, through a relative
redirect and compressed for whoever takes that; LFS files from a signed URL on another host.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from tests.http_server import Answer, Request, ranged, serve
from tests.model_hosts.repository import Access, HubFile, Repository, entries
from tests.model_hosts.storage import Content, Storage, storage

TOKEN = "hf_a_token_that_may_read_everything"
OUTSIDER = "hf_a_token_of_someone_without_access"


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A request about the file or folder `path` of a repository."""

    request: Request
    name: str
    repo: Repository
    commit: str
    path: str

    @property
    def file(self) -> HubFile | None:
        return self.repo.commits[self.commit].get(self.path)


@dataclass
class HubDouble:
    """`moved` maps old names of repositories to new ones. `asked` are the requests that it got.

    `allowed` is how many requests of each kind ("api", "resolvers") it still answers in each
    window of `window_s` seconds.
    """

    storage: Storage
    url: str = ""
    repos: dict[str, Repository] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    page_size: int = 1000
    allowed: dict[str, int] = field(default_factory=dict)
    window_s: float = 300.0
    asked: list[Request] = field(default_factory=list)
    _windows: dict[str, tuple[float, int]] = field(default_factory=dict)

    def publish(
        self,
        name: str,
        files: Mapping[str, Content],
        *,
        access: Access = "public",
        revision: str = "main",
    ) -> str:
        """Makes `files` the state of a branch or tag; gives its commit."""
        repo = self.repos.setdefault(name, Repository(access=access))
        state = {path: HubFile.of(path, content) for path, content in files.items()}
        for file in state.values():
            self.storage.put(file.sha256, file.content)
        return repo.commit(revision, state)

    def answer(self, request: Request) -> Answer:
        self.asked.append(request)
        parts = urlsplit(request.path)
        kind = "api" if parts.path.startswith("/api/models/") else "resolvers"
        limits, is_left = self._count(kind)
        if not is_left:
            return _error(429, "", "We had to rate limit you", limits)
        answer = self._routed(request, parts.path)
        return Answer(status=answer.status, headers={**answer.headers, **limits}, body=answer.body)

    def _routed(self, request: Request, path: str) -> Answer:
        routes = {
            r"/api/models/(.+?)/revision/([^/]+)(/?)": _about,
            r"/api/models/(.+?)/tree/([^/]+)/?(.*)": self._tree,
            r"/api/resolve-cache/models/(.+?)/([0-9a-f]{40})/(.+)": _cached,
            r"/(.+?)/resolve/([^/]+)/(.+)": self._resolve,
        }
        found = ((re.fullmatch(pattern, path), route) for pattern, route in routes.items())
        asked, route = next(((asked, route) for asked, route in found if asked), (None, _about))
        if asked is None:
            return _error(404, "", "Not Found")
        name, revision, below = map(unquote, asked.groups())
        if name in self.moved:
            place = request.path.replace(f"/{name}/", f"/{self.moved[name]}/", 1)
            return Answer(status=307, headers={"Location": place})
        is_listing = path.startswith("/api/models/")
        if (refusal := self._refusal(request, name, is_listing=is_listing)) is not None:
            return refusal
        repo = self.repos[name]
        if (commit := repo.find(revision)) is None:
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return route(_Asked(request=request, name=name, repo=repo, commit=commit, path=below))

    def _refusal(self, request: Request, name: str, *, is_listing: bool) -> Answer | None:
        kind, _, token = (request.headers["Authorization"] or "").partition(" ")
        if token and (kind != "Bearer" or token not in (TOKEN, OUTSIDER)):
            return _error(401, "", "Invalid credentials in Authorization header")
        repo = self.repos.get(name)
        if repo is None or (repo.access == "private" and token != TOKEN):
            # It does not tell which repositories exist.
            return _error(404 if token else 401, "RepoNotFound", "Repository not found")
        if repo.access == "gated" and not is_listing and token != TOKEN:
            restricted = f"Access to model {name} is restricted"
            if token:
                reason = f"{restricted} and you are not in the authorized list."
                return _error(403, "GatedRepo", reason)
            return _error(401, "GatedRepo", f"{restricted}. You must be authenticated.")
        return None

    def _resolve(self, asked: _Asked) -> Answer:
        told = {"X-Repo-Commit": asked.commit}
        if (file := asked.file) is None:
            return _error(404, "EntryNotFound", "Entry not found", told)
        told |= {"X-Linked-Size": str(len(file.content)), "X-Linked-ETag": file.etag}
        if file.is_lfs:
            place = self.storage.signed(file.sha256, asked.path.rpartition("/")[2])
            return Answer(status=302, headers={**told, "Location": place})
        below = f"{asked.name}/{asked.commit}/{quote(asked.path)}"
        place = f"/api/resolve-cache/models/{below}?{urlencode({'etag': file.etag})}"
        return Answer(status=307, headers={**told, "Location": place})

    def _tree(self, asked: _Asked) -> Answer:
        query = parse_qs(urlsplit(asked.request.path).query)
        is_recursive = query.get("recursive", [""])[0].lower() in ("true", "1")
        found = entries(asked.repo.commits[asked.commit], asked.path, is_recursive=is_recursive)
        if not found:
            return _error(404, "EntryNotFound", f"{asked.path} does not exist on the repository")
        start = int(query.get("cursor", ["0"])[0])
        end = start + self.page_size
        answer = _json(found[start:end])
        if end >= len(found):
            return answer
        more = urlencode({"recursive": str(is_recursive).lower(), "cursor": end})
        below = f"{asked.name}/tree/{asked.commit}/{quote(asked.path)}"
        link = {"Link": f'<{self.url}/api/models/{below}?{more}>; rel="next"'}
        return Answer(headers={**answer.headers, **link}, body=answer.body)

    def _count(self, kind: str) -> tuple[dict[str, str], bool]:
        """The headers that say what is left of the window, and whether this request fits in."""
        limit = self.allowed.get(kind, 5000)
        start, used = self._windows.get(kind, (0.0, 0))
        now = time.monotonic()
        if now >= start + self.window_s:
            start, used = now, 0
        self._windows[kind] = start, used + 1
        rest_s = math.ceil(start + self.window_s - now)
        headers = {
            "RateLimit": f'"{kind}";r={max(0, limit - used - 1)};t={rest_s}',
            "RateLimit-Policy": f'"fixed window";"{kind}";q={limit};w={math.ceil(self.window_s)}',
        }
        return headers, used < limit


@contextmanager
def hub() -> Iterator[HubDouble]:
    with storage() as behind:
        double = HubDouble(storage=behind)
        with serve(answering=double.answer) as double.url:
            yield double


def _cached(asked: _Asked) -> Answer:
    if (file := asked.file) is None:
        return _error(404, "EntryNotFound", "Entry not found")
    told = {"X-Repo-Commit": asked.commit}
    if "gzip" in asked.request.headers.get("Accept-Encoding", ""):
        told |= {"Content-Encoding": "gzip", "ETag": f"W/{file.etag}", "Connection": "close"}
        return Answer(headers=told, body=gzip.compress(bytes(file.content)))
    answer = ranged(asked.request, file.content, etag=file.etag)
    return Answer(status=answer.status, headers={**answer.headers, **told}, body=answer.body)


def _about(asked: _Asked) -> Answer:
    document = {
        "id": asked.name,
        "modelId": asked.name,
        "sha": asked.commit,
        "private": asked.repo.access == "private",
        "gated": "manual" if asked.repo.access == "gated" else False,
        "siblings": [{"rfilename": path} for path in sorted(asked.repo.commits[asked.commit])],
    }
    return _json(document)


def _json(document: object) -> Answer:
    body = json.dumps(document).encode()
    return Answer(headers={"Content-Type": "application/json; charset=utf-8"}, body=body)


def _error(status: int, code: str, message: str, more: Mapping[str, str] | None = None) -> Answer:
    headers = {"Content-Type": "application/json", "X-Error-Message": message, **(more or {})}
    if code:
        headers["X-Error-Code"] = code
    return Answer(status=status, headers=headers, body=json.dumps({"error": message}).encode())
