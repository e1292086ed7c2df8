"""The bill of materials of an image, as CycloneDX JSON, made from the lock alone.

https://cyclonedx.org/docs/1.6/json/ is the format. The bytes only depend on the lock: there is no
time in it, and the serial number is derived from the lock's digest.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Sequence

from cyclonedx.model import (
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    Property,
    XsUri,
)
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType, Swhid
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from comfy_http.redaction import without_secrets
from runpod_comfy.lock.model import (
    Base,
    Distribution,
    DistributionFile,
    Lock,
    LockedModel,
    LockedTree,
)
from runpod_comfy.lock.python.wheels import PlatformFile

_PROPERTY = "runpod-comfy:"
_PYPI = "pypi://"


def sbom_bytes(lock: Lock, platform: str, files: Sequence[PlatformFile]) -> bytes:
    """Trees, distributions with the `files` that `platform` takes, models, base and packages."""
    version = Component(
        name=lock.version_id,
        type=ComponentType.CONTAINER,
        bom_ref="image",
        version=lock.digest,
        properties=_properties(platform=platform, python=lock.python.version),
    )
    trees = {"core": _tree("core", lock.comfy, ComponentType.APPLICATION, "ComfyUI")} | {
        f"node:{node.name}": _tree(f"node:{node.name}", node, ComponentType.LIBRARY, node.name)
        for node in lock.custom_nodes
    }
    distributions = {
        (each.distribution.name, each.distribution.version): each.distribution for each in files
    }
    components = {
        key: _distribution(
            distribution, [each.file for each in files if each.distribution == distribution]
        )
        for key, distribution in distributions.items()
    }
    others = [*map(_model, lock.models), *_base(lock.base)]
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{lock.digest} {platform}"),
        metadata=BomMetaData(component=version),
        components=[*trees.values(), *components.values(), *others],
    )
    bom.register_dependency(version, [*trees.values(), *others])
    for key, distribution in distributions.items():
        askers = [trees[name] for name in distribution.requested_by if name in trees]
        askers += [one for (name, _), one in components.items() if name in distribution.required_by]
        for asker in askers:
            bom.register_dependency(asker, [components[key]])
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    # The library adds the current time.
    document["metadata"].pop("timestamp", None)
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _tree(ref: str, tree: LockedTree, kind: ComponentType, name: str) -> Component:
    repo = without_secrets(tree.repo)
    sha256 = tree.commit.removeprefix("sha256:") if tree.commit.startswith("sha256:") else None
    reference = (
        ExternalReferenceType.VCS if tree.kind == "git" else ExternalReferenceType.DISTRIBUTION
    )
    return Component(
        name=name,
        type=kind,
        bom_ref=ref,
        version=tree.ref or tree.commit,
        purl=_tree_purl(tree, repo),
        # The folder in the image is identified by git's hash of its tree.
        swhids=[Swhid(f"swh:1:dir:{tree.tree_hash.removeprefix('tree:')}")],
        external_references=[
            ExternalReference(type=reference, url=XsUri(repo), hashes=_sha256(sha256))
        ],
        properties=_properties(
            commit=tree.commit, **{"tree-hash": tree.tree_hash}, subdir=tree.subdir
        ),
    )


def _tree_purl(tree: LockedTree, repo: str) -> PackageURL | None:
    """The tree's https://github.com/package-url/purl-spec; None for a folder, which is only on one
    disk.
    """
    if tree.kind == "pypi":
        return _pypi(repo.removeprefix(_PYPI), tree.ref)
    if tree.kind == "git":
        name = repo.rstrip("/").rpartition("/")[2].removesuffix(".git")
        return PackageURL("generic", None, name, tree.commit, {"vcs_url": f"git+{repo}"})
    return None


def _distribution(distribution: Distribution, files: Iterable[DistributionFile]) -> Component:
    return Component(
        name=distribution.name,
        type=ComponentType.LIBRARY,
        bom_ref=f"pypi:{distribution.name}@{distribution.version}",
        version=distribution.version,
        purl=_pypi(distribution.name, distribution.version),
        external_references=[
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION,
                url=XsUri(file.name),
                hashes=_sha256(file.sha256),
            )
            for file in files
        ],
    )


def _pypi(name: str, version: str | None) -> PackageURL:
    return PackageURL("pypi", None, name, version)


def _model(model: LockedModel) -> Component:
    return Component(
        name=model.name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"model:{model.target_path}",
        version=model.sources[0].pin.commit or f"sha256:{model.sha256}",
        hashes=_sha256(model.sha256),
        external_references=[
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION, url=XsUri(without_secrets(source.url))
            )
            for source in model.sources
        ],
        properties=_properties(place=model.target_path, size=str(model.size)),
    )


def _base(base: Base) -> Iterator[Component]:
    if base.image:
        yield Component(
            name=base.image, type=ComponentType.CONTAINER, bom_ref="base", version=base.digest
        )
    for package in base.system_packages:
        yield Component(
            name=package,
            type=ComponentType.LIBRARY,
            bom_ref=f"deb:{package}",
            purl=PackageURL("deb", "debian", package),
        )


def _sha256(digest: str | None) -> list[HashType]:
    return [HashType(alg=HashAlgorithm.SHA_256, content=digest)] if digest else []


def _properties(**named: str | None) -> list[Property]:
    return [Property(name=_PROPERTY + name, value=value) for name, value in named.items() if value]
