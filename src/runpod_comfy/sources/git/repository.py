"""Runs git, and keeps bare repositories in the cache, filled commit by commit with as little
history as possible.

git is isolated from surprises in repositories or in the user's configuration: credential helpers,
ssh keys and `insteadOf` keep working; hooks, prompts, remote helpers (`ext::`) and optional
housekeeping do not run.
"""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import ComfyError, OperationFailedError, UnavailableError
from comfy_files.parallel import interrupted
from comfy_files.progress import Say, TransferLines
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext, slug_of

_ALLOWED_PROTOCOLS = "file:git:http:https:ssh"

_NO_SPACE = "No space left on device"
_FREE = "Free some space on the disk of the cache, then run the command again."
_AGAIN = "If this persists, remove the folder 'git' in the cache; it will be fetched again."
# How git begins a command that it advises, and a hint.
_ADVICE = ("\tgit ", "hint: ")
# If git outputs nothing for this long, the server is considered dead.
_STALL_S = 120.0
_END_S = 5.0
_CONFIGURATION = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "fetch.recurseSubmodules": "false",
    "protocol.ext.allow": "never",
    "advice.detachedHead": "false",
}
# Set when we are started from a git hook; they would point git at that repository.
_FOREIGN_VARIABLES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
)
KEPT = "refs/kept/"
"""Commits that are in use have a ref below it, so that git keeps them."""
_UNITS = {b"bytes": 1, b"KiB": 1 << 10, b"MiB": 1 << 20, b"GiB": 1 << 30}
_RECEIVED = re.compile(rb"Receiving objects: [^\r\n]*?, ([\d.]+) (bytes|KiB|MiB|GiB)")
NO_COMMIT = ("not our ref", "couldn't find remote ref", "no such remote ref")
# Old servers only serve commits that a ref names, and plain web servers no shallow history.
_REFUSALS = ("unadvertised object", "dumb http", "does not support shallow")


class GitFailedError(OperationFailedError):
    """git failed; `reason` is git's own explanation and `advice` its advice, each on one line."""

    def __init__(self, reason: str, *, advice: str = "") -> None:
        remedy = _FREE if _NO_SPACE in reason else advice or _AGAIN
        super().__init__(f"git failed: {reason}", remedy=remedy)
        self.reason = reason
        self.advice = advice

    def unreachable(self, repo: str) -> ComfyError:
        """The error for a repository that git could not read; a full disk here is not one."""
        if _NO_SPACE in self.reason:
            return OperationFailedError(self.message, remedy=self.remedy)
        shown = without_secrets(repo)
        return UnavailableError(
            f"the git repository {shown} cannot be read: {self.reason}",
            remedy=self.advice or f"Check the URL and your access to it: git ls-remote {shown}",
        )


def run_git(
    arguments: Sequence[str],
    *,
    repository: Path | None = None,
    stall_s: float = _STALL_S,
    on_output: Callable[[bytes], None] = lambda _chunk: None,
) -> bytes:
    """Runs git and returns its standard output.

    `repository` is the git directory to work in. git is stopped after `stall_s` seconds without
    output. `on_output` gets what it writes to standard error. Raises GitFailedError with git's
    own explanation, UnavailableError if git is not installed.
    """
    # Its http helper outlives a stopped git, so it needs a timeout of its own.
    patience = f"http.lowSpeedTime={max(1, round(stall_s))}"
    process = start_git(
        ["-c", "http.lowSpeedLimit=1", "-c", patience, *arguments], repository=repository
    )
    try:
        out, err = _read_both(process, stall_s, on_output)
        code = process.wait()
    finally:
        end_git(process)
    if code != 0:
        raise GitFailedError(_reason(err) or f"exit status {code}", advice=_advice(err))
    return out


def start_git(
    arguments: Sequence[str], *, repository: Path | None = None, interactive: bool = False
) -> subprocess.Popen[bytes]:
    """Starts git with pipes for output, and for input if `interactive`. `end_git` stops it."""
    environment = {k: v for k, v in os.environ.items() if k not in _FOREIGN_VARIABLES}
    environment |= {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": _ALLOWED_PROTOCOLS,
        # ssh asks this program instead of the terminal, and gets no answer.
        "SSH_ASKPASS": "false",
        "SSH_ASKPASS_REQUIRE": "force",
    }
    # A program that the user configured answers by itself in CI; a default one would open a window.
    environment.setdefault("GIT_ASKPASS", "")
    command = ["git"]
    for name, value in _CONFIGURATION.items():
        command += ["-c", f"{name}={value}"]
    if repository is not None:
        command += ["--git-dir", str(repository)]
    try:
        return subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.PIPE if interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if interactive else subprocess.PIPE,
            env=environment,
        )
    except FileNotFoundError as error:
        raise UnavailableError(
            "git is not installed",
            remedy="Install it: 'apt-get install git' or 'xcode-select --install'.",
        ) from error


def end_git(process: subprocess.Popen[bytes]) -> None:
    """Stops git, if it still runs, and closes the pipes. On SIGTERM git also stops its helpers."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _read_both(
    process: subprocess.Popen[bytes], stall_s: float, on_output: Callable[[bytes], None]
) -> tuple[bytes, bytes]:
    assert process.stdout is not None
    assert process.stderr is not None
    chunks: dict[int, list[bytes]] = {process.stdout.fileno(): [], process.stderr.fileno(): []}
    last_output = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for descriptor in chunks:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(timeout=min(stall_s, 1.0)):
                chunk = os.read(key.fd, 65536)
                last_output = time.monotonic()
                if chunk:
                    chunks[key.fd].append(chunk)
                    if key.fd == process.stderr.fileno():
                        on_output(chunk)
                else:
                    selector.unregister(key.fd)
            if interrupted():
                raise GitFailedError("it was interrupted")
            if time.monotonic() - last_output > stall_s:
                raise GitFailedError(f"no answer for {stall_s:.0f} seconds")
    return tuple(b"".join(chunks[stream.fileno()]) for stream in (process.stdout, process.stderr))  # type: ignore[return-value]


def _reason(stderr: bytes) -> str:
    """git's lines about what went wrong, without progress and secrets."""
    lines = stderr.decode("utf-8", "replace").replace("\r", "\n").splitlines()
    telling = [
        line.strip().removeprefix("remote: ")
        for line in lines
        if line.startswith(("fatal:", "error:", "remote: fatal:", "ssh:", "Host key", "Permission"))
    ]
    chosen = telling or [line.strip() for line in lines if line.strip()][-3:]
    return without_secrets("; ".join(dict.fromkeys(chosen)))[:600]


def _advice(stderr: bytes) -> str:
    """The commands and hints that git prints after some errors; '' if there are none."""
    lines = stderr.decode("utf-8", "replace").splitlines()
    told = [line.strip().removeprefix("hint: ") for line in lines if line.startswith(_ADVICE)]
    return f"git's advice: {without_secrets('; '.join(told))[:600]}" if told else ""


@dataclass(frozen=True, kw_only=True)
class GitRepository:
    """The cached copy of `repo`; `path` is its git directory."""

    repo: str
    path: Path

    @classmethod
    def of(cls, repo: str, cache: Cache) -> GitRepository:
        return cls(repo=repo, path=cache.git / f"{slug_of(repo)}.git")

    def has(self, commit: str) -> bool:
        """True if the commit is here with all its files."""
        if not self.path.is_dir():
            return False
        try:
            self.bytes_of("rev-parse", "--quiet", "--verify", f"{KEPT}{commit}^{{commit}}")
        except GitFailedError:
            return False
        return True

    def ensure(self, commit: str, fetch_context: FetchContext) -> None:
        """Fetches one commit, unless it is already here.

        Raises UnavailableError if the repository does not have it or cannot be reached.
        """
        if self.has(commit):
            return
        fetch_context.need_network(
            f"commit {commit} of {without_secrets(self.repo)} is not in the cache, and network "
            "access is off (--offline)"
        )
        cache = fetch_context.cache
        with cache.writing(), cache.key_lock(str(self.path)):
            # Locks of a killed git are removed first; it may have been killed during
            # initialisation.
            for stale in (*self.path.glob("*.lock"), *(self.path / "refs").rglob("*.lock")):
                stale.unlink(missing_ok=True)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            init_bare(self.path)
            if not self.has(commit):
                self._fetch_commit(commit, fetch_context.say)

    def text(self, *arguments: str) -> str:
        """The output of a git command in this repository, without the last newline."""
        return self.bytes_of(*arguments).decode("utf-8", "replace").rstrip("\n")

    def bytes_of(self, *arguments: str) -> bytes:
        """The output of a git command in this repository."""
        return run_git(arguments, repository=self.path)

    def _fetch_commit(self, commit: str, say: Say) -> None:
        try:
            self._fetch(["--depth=1"], [f"{commit}:{KEPT}{commit}"], say)
        except GitFailedError as error:
            if any(sign in error.reason for sign in NO_COMMIT):
                raise self._no_commit(commit) from error
            if not any(sign in error.reason for sign in _REFUSALS):
                raise error.unreachable(self.repo) from error
            self._fetch_everything(commit, say)

    def _fetch_everything(self, commit: str, say: Say) -> None:
        options = ["--unshallow"] if (self.path / "shallow").exists() else []
        try:
            self._fetch(options, ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"], say)
        except GitFailedError as error:
            raise error.unreachable(self.repo) from error
        try:
            self.bytes_of("update-ref", f"{KEPT}{commit}", commit)
        except GitFailedError as error:
            raise self._no_commit(commit) from error

    def _fetch(self, options: list[str], refspecs: list[str], say: Say) -> None:
        lines = TransferLines(say, without_secrets(self.repo), None)
        arguments = ["fetch", "--progress", "--no-tags", "--force", *options]
        arguments += ["--", self.repo, *refspecs]
        run_git(
            arguments, repository=self.path, on_output=lambda chunk: _note_received(chunk, lines)
        )

    def _no_commit(self, commit: str) -> UnavailableError:
        return UnavailableError(
            f"the git repository {without_secrets(self.repo)} has no commit {commit}",
            remedy="Check 'commit' and 'ref'; a force-push may have removed it there.",
        )


def _note_received(progress: bytes, lines: TransferLines) -> None:
    """Reads git's `Receiving objects:  45% (9/20), 12.30 MiB | 5.10 MiB/s`."""
    for number, unit in _RECEIVED.findall(progress):
        lines.note(round(float(number) * _UNITS[unit]))


def init_bare(path: Path) -> None:
    """Creates an empty repository, unless there is one. Raises GitFailedError."""
    run_git(["init", "--quiet", "--bare", "--template=", "--", str(path)])


def commits_of(repo: str, refs: Sequence[str], *, cache: Cache) -> set[str]:
    """The commits in the history of some refs (full names or patterns) of a remote repository.

    A forge serves the commits of forks too, and only serves whole commits. If the server supports
    it, only commits are fetched, without files, into a temporary repository: a filter marks a
    repository permanently. Raises GitFailedError.
    """
    fetch = ["fetch", "--progress", "--no-tags", "--filter=tree:0", "--", repo]
    with cache.scratch("history") as path:
        init_bare(path)
        run_git([*fetch, *(f"{ref}:refs/asked/{ref}" for ref in refs)], repository=path)
        # Walks from these refs, so that nothing missing is requested from the server.
        commits = run_git(["rev-list", "--glob=refs/asked/*"], repository=path)
    return set(commits.decode("ascii").split())
