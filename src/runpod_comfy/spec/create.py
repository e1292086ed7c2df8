"""`create`: from command-line arguments to a spec in which every ref is resolved.

`--repo`, `--nodes` and `--models` are JSON or text, with paths relative to the working directory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from comfy_errors import Faults
from comfy_files.progress import Say
from comfy_files.user_paths import real
from comfy_home.platforms import DEFAULT_PLATFORM, PLATFORMS, this_platform
from comfy_models.verify import HashMemory
from runpod_comfy.spec.asked import (
    local_models,
    read_core,
    read_models,
    read_nodes,
    with_checksums,
)
from runpod_comfy.spec.document import Folders
from runpod_comfy.spec.load import check_version_id, parse_spec
from runpod_comfy.spec.model import Options, Spec, Tree
from runpod_comfy.spec.write import spec_text

Settle = Callable[[Sequence[Tree]], Sequence[Tree]]


def create_spec(
    version_id: str,
    *,
    repo: str,
    nodes: Sequence[str],
    models: Sequence[str],
    models_root: Path | None,
    auto_checksum: bool,
    output: Path,
    working_dir: Path,
    settle: Settle,
    say: Say,
    memory: HashMemory | None = None,
) -> Spec:
    """The spec that the arguments of `create` ask for. Writes nothing.

    `repo` and each of `nodes` are `URL@ref#subdir=a/b`; a node may also be a JSON object or the
    path of a JSON file, and each of `models` is one of these two. `output` is the file that the
    spec is for: relative paths are rewritten from `working_dir` to its folder. `settle` fills in
    `ref` and `commit` of trees, whose relative paths are from that folder too. Raises what `settle`
    raises, InvalidInputError for invalid input, UnavailableError for a missing local file,
    MismatchError for a wrong checksum.
    """
    check_version_id(version_id)
    # With links resolved, so that `..` in a rewritten path leads to the expected folder.
    folders = Folders(working=real(working_dir), spec=real(output.parent))
    local = local_models(models_root, folders, auto_checksum=auto_checksum, memory=memory, say=say)
    faults = Faults()
    comfy = faults.catch(read_core, repo, folders)
    found = faults.each(lambda text: read_nodes(text, folders), nodes)
    found_models = faults.each(lambda text: read_models(text, folders, local), models)
    hashed = faults.catch(with_checksums, [each for some in found_models for each in some], local)
    faults.raise_all()
    assert comfy is not None, "there are no faults"
    assert hashed is not None, "there are no faults"
    asked = Spec(
        schema_version=2,
        version_id=version_id,
        comfy=comfy,
        custom_nodes=[node for each in found for node in each],
        models=hashed,
        options=_options(),
    )
    core, *settled = settle([asked.comfy, *asked.custom_nodes])
    spec = asked.model_copy(update={"comfy": core, "custom_nodes": settled})
    return parse_spec(spec_text(spec), where=f"the new spec '{version_id}'")


def _options() -> Options:
    """The options of a spec that is made on this machine: with its platform beside the default one,
    which images are for, if it is another.
    """
    here = this_platform()
    if here == DEFAULT_PLATFORM or here not in PLATFORMS:
        return Options()
    return Options.model_validate({"platforms": [DEFAULT_PLATFORM, here]})
