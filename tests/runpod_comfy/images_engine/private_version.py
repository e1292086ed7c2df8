"""A version of which parts are private: a node's repository and a package, each behind a login.

It is based on the torch-free core. The user who builds it has tokens in the environment, in pip's
index and in git's settings, as people have.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.git_repositories import GitRepository, new_repository
from tests.graphs import node, saving, write_graph
from tests.http_server import Answer, Request, serve
from tests.package_index import make_sdist, publish, write_index
from tests.program import Program
from tests.real_packages import held
from tests.specs import FIXTURE_CORE, core_repository, write_spec

PERSON = "person-of-the-test"
INDEX_TOKEN = "index-token-5f0c1d"
GIT_TOKEN = "git-token-a913e7"
ENVIRONMENT_TOKENS = {
    "HF_TOKEN": "hf_token-77b0c2",
    "CIVITAI_TOKEN": "civitai-token-0d44f8",
    "PIP_PASSWORD": "pip-password-31e9aa",
}
TOKENS = (INDEX_TOKEN, GIT_TOKEN, *ENVIRONMENT_TOKENS.values())

VERSION = "private"
WORKFLOW = {
    "1": node("Colour"),
    "2": saving(["1", 0], prefix="colour", suffix=".png", key="images"),
}
NODE, LAST_NODE = "a_colour", "z_last"
NODE_SOURCE = """\
import private_colours

class Colour:
    required = {}
    output_node = False

    async def run(self, core, node_id, inputs):
        return None, private_colours.COLOUR

NODE_CLASS_MAPPINGS = {"Colour": Colour}
"""
_LAST_SOURCE = """\
class Last:
    required = {}
    output_node = False

NODE_CLASS_MAPPINGS = {"Last": Last}
"""


@dataclass(frozen=True, kw_only=True)
class PrivateVersion:
    """A working directory with the spec, and the private node's repository.

    `variables` are those of the person.
    """

    folder: Path
    node: GitRepository
    published: Path
    variables: dict[str, str]

    @property
    def program(self) -> Program:
        return Program(folder=self.folder, variables=self.variables)

    @contextmanager
    def with_node(self, text: str) -> Iterator[None]:
        """The node with this source; afterwards everything is as it was."""
        original = self.node.git("rev-parse", "HEAD")
        self.node.commit("Changed", {"__init__.py": text})
        self.publish()
        yield
        self.node.git("reset", "--quiet", "--hard", original)
        self.publish()

    def publish(self) -> None:
        """Lets the server have the node as it is, and resolves the version again."""
        self.node.git("push", "--quiet", "--force", str(self.published), "main")
        GitRepository(path=self.published).git("update-server-info")
        resolved = self.program("resolve", VERSION, "--upgrade", NODE)
        assert resolved.code == 0, resolved.err


@contextmanager
def private_version(folder: Path) -> Iterator[PrivateVersion]:
    """The version, resolved, for as long as its servers run."""
    work, web, home = folder / "work", folder / "web", folder / "home"
    for place in (work / "workflows", web / "git", home):
        place.mkdir(parents=True)
    source = "COLOUR = 'as blue as can be'\n"
    publish(web, "private-colours", "1.0", source=source, more=_shared_files("colours"))
    publish(web, "private-shades", "1.0", more=_shared_files("shades"))
    make_sdist(web / "files", "private_tint", "1.0", source="import yaml")
    write_index(web)
    core = core_repository(folder / "core", FIXTURE_CORE, "aiohttp\npyyaml\n")
    last = new_repository(folder / "last", {"__init__.py": _LAST_SOURCE})
    files = {
        "requirements.txt": "private-shades\nprivate-colours\nprivate-tint\n",
        "__init__.py": NODE_SOURCE,
    }
    node = new_repository(folder / "node", files)
    published = web / "git" / "colour.git"
    node.git("init", "--quiet", "--bare", "--initial-branch=main", str(published))
    write_spec(
        work / "versions",
        VERSION,
        core=core.at(),
        nodes={
            NODE: {"repo": "https://git.test/colour.git", "ref": "main"},
            LAST_NODE: last.at(),
        },
        options={"constraints": held(), "build_requirements": {"private-tint": ["pyyaml"]}},
    )
    write_graph(work / "workflows" / "colour.json", WORKFLOW)
    with serve(web, _for_the_person) as url:
        address = url.removeprefix("http://")
        (home / ".gitconfig").write_text(
            f'[url "http://{PERSON}:{GIT_TOKEN}@{address}/git/"]\n'
            "    insteadOf = https://git.test/\n"
        )
        indexes = [
            os.environ.get("PIP_EXTRA_INDEX_URL", ""),
            f"http://{PERSON}:{INDEX_TOKEN}@{address}/simple/",
        ]
        version = PrivateVersion(
            folder=work,
            node=node,
            published=published,
            variables={
                **ENVIRONMENT_TOKENS,
                "HOME": str(home),
                "COMFY_CACHE_ROOT": str(folder / "cache"),
                "PIP_EXTRA_INDEX_URL": " ".join(filter(None, indexes)),
            },
        )
        version.publish()
        yield version
    shutil.rmtree(folder)


def _shared_files(text: str) -> dict[str, str]:
    """What both packages install: a file that is the same in them, and one that is not."""
    return {"tests/__init__.py": "", "tests/check.py": f"WHO = {text!r}\n"}


def _for_the_person(request: Request) -> Answer | None:
    """Asks for the one token below `/git/`, for the other everywhere else."""
    token = GIT_TOKEN if request.path.startswith("/git/") else INDEX_TOKEN
    if request.login == f"{PERSON}:{token}":
        return None
    return Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="test"'})
