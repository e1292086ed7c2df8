"""Three small versions that share most of what they are made of: git, an index, model files.

They are realized by the real program, with real git, uv and engine, in about two seconds.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.git_repositories import GitRepository, new_repository
from tests.http_server import Request, serve
from tests.package_index import publish
from tests.program import Outcome, Program, write_program
from tests.safetensors_bytes import safetensors
from tests.specs import BARE_CORE, core_repository, write_spec

VERSIONS = ("one", "two", "three")
SCRIPTED = "scripted"
"""A fourth version, whose node has an install.py that may run."""

# Run twice on the same files, it would leave two lines in each.
_INSTALL = """
import alpha, beta, pathlib, time
for path in ("downloaded", "../painter/added", "../../added", "../../main.py", alpha.__file__):
    with pathlib.Path(path).open("a") as file:
        file.write("# by a script\\n")
    time.sleep(0.02)
pathlib.Path(beta.__file__).unlink()
"""
_WHEELS = {"torch": "2.1.0", "alpha": "1.0", "beta": "2.0", "gamma": "3.0"}


@dataclass(frozen=True, kw_only=True)
class SmallVersions:
    """A working directory with three specs, where their parts come from, and what was asked for.

    `asked` counts the wheels that the index gave, by name; `git_log` has a line for each command
    that git was given.
    """

    folder: Path
    asked: Counter[str]
    git_log: Path
    variables: dict[str, str]

    @property
    def cache(self) -> Path:
        return Path(self.variables["COMFY_CACHE_ROOT"])

    def program(self, **variables: str | Path) -> Program:
        added = {name: str(value) for name, value in variables.items()}
        return Program(folder=self.folder, variables={**self.variables, **added})

    def home(self, version: str) -> Path:
        return self.folder / "homes" / version

    def realize(self, version: str, **variables: str | Path) -> Outcome:
        return self.program(**variables)("realize", version, "--target", self.home(version))

    def forget(self) -> None:
        """An empty cache, no homes, nothing counted."""
        for folder in (self.cache, self.folder / "homes"):
            shutil.rmtree(folder, ignore_errors=True)
        self.asked.clear()
        self.git_log.unlink(missing_ok=True)

    def git_fetches(self) -> Counter[str]:
        """How often git fetched from each repository."""
        lines = self.git_log.read_text().splitlines() if self.git_log.exists() else []
        words = [word for line in lines if " fetch " in line for word in line.split()]
        return Counter(Path(word).name for word in words if word.startswith("file://"))


@contextmanager
def small_versions(folder: Path) -> Iterator[SmallVersions]:
    """Makes the three versions below `folder`, resolved, with nothing in the cache."""
    work = folder / "work"
    index = folder / "index"
    for name, version in _WHEELS.items():
        publish(index, name, version)
    publish(index, "torch", "2.2.0")
    publish(index, "delta", "4.0", requires=["gamma"])
    repositories = _make_repositories(folder / "repositories")
    models = _make_models(folder / "models")
    _write_specs(work / "versions", repositories, models)
    asked: Counter[str] = Counter()
    mutex = threading.Lock()

    def count(request: Request) -> None:
        if request.path.endswith(".whl"):
            with mutex:
                asked[Path(request.path).name] += 1

    with serve(index, count) as url:
        small = SmallVersions(
            folder=work,
            asked=asked,
            git_log=folder / "git.log",
            variables={
                "COMFY_CACHE_ROOT": str(folder / "cache"),
                "PATH": _path_with_a_git_that_is_logged(folder),
                "PIP_CONFIG_FILE": os.devnull,
                "PIP_INDEX_URL": f"{url}/simple/",
                "PIP_EXTRA_INDEX_URL": "",
                "PIP_FIND_LINKS": "",
            },
        )
        for version in (*VERSIONS, SCRIPTED):
            resolved = small.program()("resolve", version)
            assert resolved.code == 0, resolved.err
        small.forget()
        yield small


def _make_repositories(folder: Path) -> dict[str, GitRepository]:
    core = core_repository(folder / "core", BARE_CORE, "torch==2.1.0\nalpha\n")
    parts = {f"comfy/part{number}.py": f"NUMBER = {number}\n" * 200 for number in range(40)}
    core.commit("More of the core", parts, tag="v1")
    newer = {"requirements.txt": "torch==2.2.0\nalpha\n"}
    core.commit("The core for a newer torch", newer, tag="v2")
    painter = _node(folder / "painter", "Paint", {"requirements.txt": "beta\n"})
    drawing = "NODE_CLASS_MAPPINGS = {'Paint': object, 'Draw': object}\n"
    painter.commit("A painter who draws", {"__init__.py": drawing}, tag="v2")
    dancer = _node(folder / "dancer", "Dance", {"requirements.txt": "delta\n"})
    scripted = _node(folder / "scripted", "Plan", {"install.py": _INSTALL})
    return {"core": core, "painter": painter, "dancer": dancer, "scripted": scripted}


def _node(folder: Path, name: str, files: dict[str, str]) -> GitRepository:
    source = f"NODE_CLASS_MAPPINGS = {{'{name}': object}}\n"
    return new_repository(folder, {"__init__.py": source, **files}, tag="v1")


def _make_models(folder: Path) -> list[Path]:
    models = [folder / "loras" / f"m{number}.safetensors" for number in range(3)]
    models[0].parent.mkdir(parents=True)
    for number, model in enumerate(models):
        model.write_bytes(safetensors(f"model {number} ".encode() * 200_000))
    return models


def _write_specs(
    folder: Path, repositories: dict[str, GitRepository], models: Sequence[Path]
) -> None:
    parts: dict[str, tuple[str, dict[str, str], Sequence[int]]] = {
        "one": ("v1", {"painter": "v1"}, (0, 1)),
        "two": ("v1", {"painter": "v2", "dancer": "v1"}, (0, 2)),
        "three": ("v2", {"painter": "v2", "dancer": "v1"}, (0, 1, 2)),
        SCRIPTED: ("v1", {"painter": "v2", "scripted": "v1"}, (0,)),
    }
    for version, (core, nodes, numbers) in parts.items():
        write_spec(
            folder,
            version,
            core=repositories["core"].at(core),
            nodes={name: repositories[name].at(ref) for name, ref in nodes.items()},
            models=[models[number] for number in numbers],
            options={"run_install_scripts": ["scripted"]} if "scripted" in nodes else {},
        )


def _path_with_a_git_that_is_logged(folder: Path) -> str:
    script = f"echo \" $* \" >>'{folder / 'git.log'}'\nexec '{shutil.which('git')}' \"$@\"\n"
    git = write_program(folder / "tools" / "git", script)
    return f"{git.parent}:{os.environ['PATH']}"


def contents(folder: Path) -> dict[str, object]:
    """Every path below a folder, or a file itself, with its mode and what it holds.

    The file of a home's lock is left out, and the folder's own path does not count: the marker
    of a home names it.
    """
    found: dict[str, object] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        if path.name in (".comfy_lock", ".comfy_unchanged.json"):
            continue
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"→ {path.readlink()}"
        elif path.is_file():
            held = path.read_bytes().replace(str(folder).encode(), b"<here>")
            found[name] = (oct(path.stat().st_mode), hashlib.sha256(held).hexdigest())
        else:
            found[name] = oct(path.stat().st_mode)
    return found


_FINAL = (
    *("trees/*", "archives/*/*", "models/sha256/*/*"),
    *("environments/*", "checks/*", "compiled/*"),
)


def kept(cache: Path) -> dict[str, dict[str, object]]:
    """What has a final name in a cache, and what it holds."""
    return {
        str(entry.relative_to(cache)): contents(entry)
        for pattern in _FINAL
        for entry in cache.glob(pattern)
    }


def finished(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """Waits for all of them and asserts that each succeeded; gives what they told."""
    told = []
    for process in processes:
        _, err = process.communicate()
        assert process.returncode == 0, err
        told.append(err)
    return told
