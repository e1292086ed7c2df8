"""`make canary`: does what users get from the package index today work?

Two versions are resolved from scratch, realized and run on real ComfyUI: the demo's core with no
options, and the example of README.md. If one fails, packages are held at the versions of
lockfiles/comfy-demo.lock.json, fewer and fewer, until the one that broke it is found.

Exit codes: 0 both work, 1 one does not, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfy_errors.names import quantity
from runpod_comfy.cache.paths import Cache
from runpod_comfy.lock.model import Lock, PythonLock
from runpod_comfy.lock.python.torch_family import FAMILY

ROOT = Path(__file__).resolve().parents[1]
KNOWN = ROOT / "lockfiles" / "comfy-demo.lock.json"
WORKFLOW = ROOT / "workflows" / "example.json"
TORCH = "torch"
"""Represents its whole group in a lock: its members only change together."""
_USER_VARIABLES = ("LOCK_PATH", "MODELS_DIR", "OUTPUT_MODE", "COMFY_HOME", "COMFY_VERSION_NAME")

_LONGEST_FAULT = 2000

Versions = dict[str, str]
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The result of one attempt. `versions` is None if there was no lock, `fault` is None on
    success, else the failed step and its message.
    """

    versions: Versions | None
    fault: str | None


@dataclass(kw_only=True)
class Canary:
    """Tries variants of a spec in `folder`, which has the files at the spec's relative paths.

    `known` are the pins of a working lock, as in the lock; `workflow` is the graph to run.
    """

    folder: Path
    known: PythonLock
    workflow: Path
    say: Say
    name: str = field(default_factory=lambda: f"canary-{uuid.uuid4().hex[:8]}")
    _tries: int = field(default=0, repr=False)

    def works_today(self, name: str, document: dict[str, Any]) -> bool:
        """True if the spec works today; reports what changed and, if it fails, what broke it."""
        self.say(f"{name}: resolve, realize and run from scratch")
        first = self.attempt(document)
        moved = self._moved(first.versions)
        self.say(f"{name} works" if first.fault is None else f"{name} does not work: {first.fault}")
        if first.versions is not None:
            changes = ", ".join(self._change(each, first.versions) for each in moved)
            self.say(f"Changed since the demo's lock: {changes or 'nothing'}")
        if first.fault is None:
            return True
        culprits = self._culprits(document, moved)
        if culprits:
            broke = " and ".join(self._change(each, first.versions) for each in culprits)
            held = json.dumps(self._pins(culprits))
            self.say(f'{name} is broken by {broke}. With "constraints": {held} it works')
        else:
            new = sorted(set(first.versions or ()) - set(_versions(self.known)))
            self.say(
                f"{name} does not work with the packages of the demo's lock either, so the cause "
                "is none of them"
                + (f". Packages that this lock does not have: {', '.join(new)}" if new else "")
            )
        return False

    def attempt(self, document: dict[str, Any], hold: Sequence[str] = ()) -> Attempt:
        """Resolves, realizes and runs the spec, with old versions of the packages in `hold`."""
        self._tries += 1
        version = f"{self.name}-{self._tries}"
        options = dict(document.get("options", {}))
        if hold:
            options["constraints"] = [*options.get("constraints", []), *self._pins(hold)]
        spec = {**document, "version_id": version, "options": options}
        (self.folder / "versions" / f"{version}.json").write_text(json.dumps(spec))
        home = self.folder / "homes" / version
        fault = None
        for step in (
            ("resolve", version),
            ("realize", version, "--target", home),
            ("run", version, "--target", home, "--workflow", self.workflow, "--output", "files"),
        ):
            fault = self.program(*step)
            if fault is not None:
                break
        lock = self.folder / "lockfiles" / f"comfy-{version}.lock.json"
        versions = _versions(_python_of(lock)) if lock.is_file() else None
        if home.exists():
            self.program("remove", "--target", home, "--yes", "--remove-models", "--remove-root")
        return Attempt(versions=versions, fault=fault)

    def program(self, *arguments: str | Path) -> str | None:
        """Runs `runpod-comfy`; returns None on success, else its last lines."""
        done = subprocess.run(
            [sys.executable, "-m", "runpod_comfy.cli.app", *map(str, arguments)],
            cwd=self.folder,
            env={name: text for name, text in os.environ.items() if name not in _USER_VARIABLES},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return None
        _, found, error = f"\n{done.stderr}".rpartition("\nerror: ")
        return f"{arguments[0]}: {(error if found else done.stderr[-_LONGEST_FAULT:]).strip()}"

    def _culprits(self, document: dict[str, Any], moved: Sequence[str]) -> Sequence[str]:
        """A minimal set of `moved` to hold so that the spec works, found by halving; empty if
        holding all of them does not help.
        """

        def works(hold: Sequence[str]) -> bool:
            packages = quantity(len(hold), "package")
            self.say(f"Trying with the old versions of {packages}: {', '.join(hold)}")
            return self.attempt(document, hold).fault is None

        if not moved or not works(moved):
            return ()
        suspects = list(moved)
        while len(suspects) > 1:
            half = len(suspects) // 2
            for part in (suspects[:half], suspects[half:]):
                if works(part):
                    suspects = part
                    break
            else:
                # Packages of both halves are needed.
                break
        return suspects

    def _moved(self, versions: Versions | None) -> list[str]:
        known = _versions(self.known)
        if versions is None:
            return sorted(known)
        return sorted(name for name in known if versions.get(name, known[name]) != known[name])

    def _change(self, name: str, versions: Versions | None) -> str:
        title = "" if name == TORCH else f"{name} "
        now = (versions or {}).get(name, "today's")
        return f"{title}{_versions(self.known)[name]} → {now}"

    def _pins(self, names: Sequence[str]) -> list[str]:
        group = {item.name for item in self.known.torch}
        return [
            f"{item.name}=={item.version}"
            for item in (*self.known.torch, *self.known.wheels)
            if item.name in names or (item.name in group and TORCH in names)
        ]


def _versions(python: PythonLock) -> Versions:
    """Distribution → version; the torch group is one, with the versions of the family."""
    family = [item for item in python.torch if item.name in FAMILY]
    torch = {TORCH: " with ".join(f"{item.name} {item.version}" for item in family)}
    return {item.name: item.version for item in python.wheels} | (torch if family else {})


def _python_of(lock: Path) -> PythonLock:
    return Lock.model_validate_json(lock.read_bytes()).python


def readme_example(readme: str) -> list[str]:
    """The arguments of `create` in the example of README.md, without the version's id."""
    lines = readme.replace("\\\n", " ").splitlines()
    line = next(line for line in lines if line.startswith("runpod-comfy create "))
    return shlex.split(line, comments=True)[3:]


def main() -> int:
    """Tries both versions; returns the exit code."""
    cache = Cache.from_environment()
    cache.tmp.mkdir(parents=True, exist_ok=True)
    # Beside the cache, so that packages are linked.
    folder = Path(tempfile.mkdtemp(dir=cache.tmp, prefix="canary-"))
    canary = Canary(folder=folder, known=_python_of(KNOWN), workflow=WORKFLOW, say=_say)
    try:
        shutil.copytree(ROOT / "versions", folder / "versions")
        demo = json.loads((folder / "versions" / "demo.json").read_text())
        results = [canary.works_today("the demo's core", {**demo, "options": {}})]
        example = ["create", "example", *readme_example((ROOT / "README.md").read_text())]
        fault = canary.program(*example)
        if fault is None:
            spec = json.loads((folder / "versions" / "example.json").read_text())
            results.append(canary.works_today("the example of README.md", spec))
        else:
            _say(f"the example of README.md does not work: {fault}")
            results.append(False)
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for lock in cache.resolved.glob(f"{canary.name}-*.lock.json"):
            lock.unlink()
    return 0 if all(results) else 1


def _say(text: str) -> None:
    print(f"canary: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
