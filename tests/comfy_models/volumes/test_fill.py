"""Volumes that moto's S3 plays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_errors import MismatchError, UnavailableError
from comfy_files.progress import Progress
from comfy_models.model_file import ModelSource
from comfy_models.sources.errors import AccessDeniedError, GoneError
from comfy_models.sources.hosts import Hosts
from comfy_models.store import ModelStore
from comfy_models.volumes.fill import Filled, fill_volumes
from comfy_models.volumes.volume import Volume
from tests.comfy_models.sources.reached import hosts_with
from tests.http_server import Answer
from tests.model_downloads import Model
from tests.model_hosts.s3 import KEY_ID, OUTSIDER_ID, OUTSIDER_KEY, S3Double

RECORD = "models/.comfy_volume.json"


@pytest.fixture
def models(tmp_path: Path) -> list[Model]:
    """Two models, whose sources are files here."""
    return [_model(tmp_path / name, name.encode() * 1000) for name in ("a.bin", "b.bin")]


def _model(path: Path, content: bytes) -> Model:
    path.write_bytes(content)
    return Model(
        target_path=f"loras/deep er/{path.name}",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        sources=[ModelSource(url=path.as_uri())],
    )


def _key(model: Model) -> str:
    return f"models/{model.target_path}"


def _content(double: S3Double, volume: Volume, key: str) -> bytes:
    content: bytes = double.client.get_object(Bucket=volume.id, Key=key)["Body"].read()
    return content


def _keys(double: S3Double, volume: Volume) -> list[str]:
    return [it["Key"] for it in double.client.list_objects_v2(Bucket=volume.id).get("Contents", [])]


def _states(filled: Filled) -> list[str]:
    return [one.state for one in filled.models]


def _sent(double: S3Double) -> list[str]:
    """The paths to which something was sent since the last look."""
    sent = [it.path for it in double.asked if it.method in ("PUT", "POST", "DELETE")]
    double.asked.clear()
    return sent


def test_models_come_to_every_volume_under_their_own_names(
    double: S3Double,
    models: list[Model],
    volumes: list[Volume],
    store: ModelStore,
    hosts: Hosts,
) -> None:
    filled = fill_volumes(models, volumes, store, hosts)

    assert filled.error is None
    assert _states(filled) == ["uploaded"] * 4
    for volume in volumes:
        assert _keys(double, volume) == [RECORD, *map(_key, models)]
        for model in models:
            content = _content(double, volume, _key(model))
            assert hashlib.sha256(content).hexdigest() == model.sha256


def test_a_second_run_sends_and_reads_nothing(
    double: S3Double,
    models: list[Model],
    volumes: list[Volume],
    store: ModelStore,
    hosts: Hosts,
    tmp_path: Path,
) -> None:
    fill_volumes(models, volumes, store, hosts)
    double.asked.clear()

    # Not even from here.
    filled = fill_volumes(models, volumes, ModelStore(tmp_path / "empty"), hosts)

    assert _states(filled) == ["present"] * 4
    read = {it.path for it in double.asked if it.method == "GET"}
    assert read == {f"/{volume.id}/{RECORD}" for volume in volumes}
    assert _sent(double) == []
    assert not (tmp_path / "empty").exists()


def test_a_damaged_file_in_the_store_is_fetched_again_and_not_sent(
    double: S3Double,
    models: list[Model],
    volumes: list[Volume],
    store: ModelStore,
    hosts: Hosts,
) -> None:
    model, volume = models[0], volumes[0]
    stored = store.path_of(model.sha256)
    stored.parent.mkdir(parents=True)
    stored.write_bytes(b"damaged".ljust(model.size))

    assert _states(fill_volumes([model], [volume], store, hosts)) == ["uploaded"]

    assert hashlib.sha256(_content(double, volume, _key(model))).hexdigest() == model.sha256


def test_only_what_is_lacking_is_sent(
    double: S3Double,
    models: list[Model],
    volumes: list[Volume],
    store: ModelStore,
    hosts: Hosts,
) -> None:
    fill_volumes(models[:1], volumes[:1], store, hosts)
    _sent(double)

    filled = fill_volumes(models, volumes, store, hosts)

    assert _states(filled) == ["present", "uploaded", "uploaded", "uploaded"]
    assert not any("a.bin" in path for path in _sent(double) if "/first/" in path)


def test_a_file_that_came_otherwise_is_read_back_once(
    double: S3Double,
    models: list[Model],
    volumes: list[Volume],
    store: ModelStore,
    hosts: Hosts,
) -> None:
    volume, model = volumes[0], models[0]
    double.put(volume.id, _key(model), b"a.bin" * 1000)

    assert _states(fill_volumes([model], [volume], store, hosts)) == ["verified"]
    double.asked.clear()
    assert _states(fill_volumes([model], [volume], store, hosts)) == ["present"]
    assert [it.path for it in double.asked if it.method == "GET"] == [f"/{volume.id}/{RECORD}"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"another", "has 7 bytes, not 5000"), (b"x" * 5000, "has sha256 ")],
)
def test_another_file_is_left_alone_without_overwrite(
    content: bytes,
    reason: str,
    double: S3Double,
    models: list[Model],
    volumes: list[Volume],
    store: ModelStore,
    hosts: Hosts,
) -> None:
    volume, model = volumes[0], models[0]
    double.put(volume.id, _key(model), content)

    filled = fill_volumes(models, [volume], store, hosts)

    assert _states(filled) == ["wrong", "uploaded"]
    assert filled.models[0].reason.startswith(reason)
    assert isinstance(filled.error, MismatchError)
    assert _key(model) in filled.error.message
    assert "EU-RO-1/first" in filled.error.message
    assert "--overwrite" in filled.error.remedy
    assert _content(double, volume, _key(model)) == content

    filled = fill_volumes(models, [volume], store, hosts, overwrite=True)

    assert (filled.error, _states(filled)) == (None, ["uploaded", "present"])
    assert _content(double, volume, _key(model)) == b"a.bin" * 1000


def test_a_file_that_changed_since_is_noticed(
    double: S3Double,
    models: list[Model],
    volumes: list[Volume],
    store: ModelStore,
    hosts: Hosts,
) -> None:
    volume, model = volumes[0], models[0]
    fill_volumes([model], [volume], store, hosts)
    double.put(volume.id, _key(model), b"y" * model.size)

    assert _states(fill_volumes([model], [volume], store, hosts)) == ["wrong"]


def test_an_interruption_does_not_cost_what_was_read(
    double: S3Double,
    models: list[Model],
    volumes: list[Volume],
    store: ModelStore,
    hosts: Hosts,
) -> None:
    class _Interrupting(Progress):
        def expect(self, part: str, **_counts: int) -> None:
            if part == "uploaded":
                raise KeyboardInterrupt

    double.put(volumes[0].id, _key(models[0]), b"a.bin" * 1000)
    with pytest.raises(KeyboardInterrupt):
        fill_volumes(models, volumes[:1], store, hosts, progress=_Interrupting())

    assert _states(fill_volumes(models, volumes[:1], store, hosts)) == ["present", "uploaded"]


def test_a_record_that_cannot_be_written_is_reported_beside_the_models(
    double: S3Double,
    models: list[Model],
    volumes: list[Volume],
    store: ModelStore,
    hosts: Hosts,
) -> None:
    class _Refusing(Progress):
        def arrived(self, part: str, **counts: int) -> None:
            if part == "uploaded" and "count" in counts:
                refusal = Answer(status=403, body=b"<Error><Code>AccessDenied</Code></Error>")
                double.answers.extend([refusal] * 3)

    filled = fill_volumes(models[:1], volumes[:1], store, hosts, progress=_Refusing())

    assert _states(filled) == ["uploaded"]
    assert isinstance(filled.error, AccessDeniedError)


@pytest.mark.parametrize("record", [b"", b"{", b'{"files": {"x": 1}}', b"\xff", b"[]"])
def test_an_unreadable_record_costs_only_time(
    record: bytes,
    double: S3Double,
    models: list[Model],
    volumes: list[Volume],
    store: ModelStore,
    hosts: Hosts,
) -> None:
    fill_volumes(models, volumes[:1], store, hosts)
    double.put(volumes[0].id, RECORD, record)

    assert _states(fill_volumes(models, volumes[:1], store, hosts)) == ["verified"] * 2
    assert len(json.loads(_content(double, volumes[0], RECORD))["files"]) == 2


def test_a_model_without_a_source_does_not_stop_the_others(
    double: S3Double,
    models: list[Model],
    volumes: list[Volume],
    store: ModelStore,
    hosts: Hosts,
    tmp_path: Path,
) -> None:
    (tmp_path / "a.bin").unlink()

    filled = fill_volumes(models, volumes[:1], store, hosts)

    assert _states(filled) == ["missing", "uploaded"]
    assert isinstance(filled.error, UnavailableError)
    assert "a.bin" in filled.error.message


def _refused(
    models: Sequence[Model], volumes: list[Volume], store: ModelStore, hosts: Hosts
) -> AccessDeniedError:
    with pytest.raises(AccessDeniedError, match="EU-RO-1/first") as failed:
        fill_volumes(models, volumes[:1], store, hosts)
    return failed.value


def test_a_refused_key_is_reported_with_the_variables_before_anything_is_fetched(
    double: S3Double,
    models: list[Model],
    volumes: list[Volume],
    store: ModelStore,
    tmp_path: Path,
) -> None:
    outsider = {"AWS_ACCESS_KEY_ID": OUTSIDER_ID, "AWS_SECRET_ACCESS_KEY": OUTSIDER_KEY}
    unknown = {"AWS_ACCESS_KEY_ID": "AKIAUNKNOWN", "AWS_SECRET_ACCESS_KEY": "some-secret"}
    for login in (outsider, unknown):
        error = _refused(models, volumes, store, hosts_with(tmp_path, login))
        assert "RUNPOD_S3_ACCESS_KEY_ID" in error.remedy
        assert login["AWS_SECRET_ACCESS_KEY"] not in error.in_words()
    assert not store.root.exists()


@pytest.mark.parametrize(
    ("login", "message"),
    [
        ({}, "volume EU-RO-1/first needs an S3 API key (403)"),
        (
            {"RUNPOD_S3_ACCESS_KEY_ID": KEY_ID},
            "RUNPOD_S3_SECRET_ACCESS_KEY is not set, but the other part of the key is",
        ),
    ],
)
def test_a_key_that_is_not_set_is_not_called_refused(
    models: list[Model],
    volumes: list[Volume],
    store: ModelStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    login: dict[str, str],
    message: str,
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(AccessDeniedError) as failed:
        fill_volumes(models, volumes[:1], store, hosts_with(tmp_path, login))
    assert failed.value.message == message
    assert "RUNPOD_S3_ACCESS_KEY_ID" in failed.value.remedy


def test_a_volume_that_is_named_twice_is_filled_once(
    double: S3Double, models: list[Model], volumes: list[Volume], store: ModelStore, hosts: Hosts
) -> None:
    filled = fill_volumes(models, [volumes[0], volumes[0]], store, hosts)

    assert _states(filled) == ["uploaded"] * 2
    begun = [path for path in _sent(double) if path.endswith("?uploads")]
    assert len(begun) == len(models)


def test_runpods_key_is_used_beside_that_of_another_account(
    double: S3Double,
    models: list[Model],
    volumes: list[Volume],
    store: ModelStore,
    tmp_path: Path,
) -> None:
    variables = {
        "RUNPOD_S3_ACCESS_KEY_ID": double.variables["AWS_ACCESS_KEY_ID"],
        "RUNPOD_S3_SECRET_ACCESS_KEY": double.variables["AWS_SECRET_ACCESS_KEY"],
        "AWS_ACCESS_KEY_ID": OUTSIDER_ID,
        "AWS_SECRET_ACCESS_KEY": OUTSIDER_KEY,
        "AWS_SESSION_TOKEN": "of-another-account",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    }

    filled = fill_volumes(models, volumes, store, hosts_with(tmp_path, variables))

    assert _states(filled) == ["uploaded"] * 4


def test_a_volume_that_does_not_exist_is_named(
    models: list[Model], volumes: list[Volume], store: ModelStore, hosts: Hosts
) -> None:
    unknown = replace(volumes[0], id="unknown")

    with pytest.raises(GoneError, match="there is no volume EU-RO-1/unknown"):
        fill_volumes(models, [volumes[1], unknown], store, hosts)


def test_a_data_center_that_cannot_be_reached_is_unavailable(
    models: list[Model], volumes: list[Volume], store: ModelStore, hosts: Hosts
) -> None:
    far = replace(volumes[0], endpoint="http://127.0.0.1:9")

    with pytest.raises(UnavailableError, match="volume EU-RO-1/first could not be reached"):
        fill_volumes(models, [far], store, hosts)
