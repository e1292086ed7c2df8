from __future__ import annotations

import asyncio
import sys
from pathlib import Path, PurePath
from typing import Any

import pytest

from comfy_errors import ComfyError, InvalidInputError, OperationFailedError
from rp_handler.outputs.open import Outputs
from tests.model_hosts.gcs import GcsDouble


def _variables(storage: GcsDouble, **others: str) -> dict[str, str]:
    return {
        "GCS_BUCKET": "results",
        "GCS_CREDENTIALS_JSON": storage.key_file().read_text(),
        "STORAGE_EMULATOR_HOST": storage.url,
        **others,
    }


def test_a_folder_that_is_not_writable_is_reported_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    outputs = Outputs({}, output_dir=tmp_path / "taken" / "outputs")
    with pytest.raises(OperationFailedError, match="taken/outputs is not writable"):
        asyncio.run(outputs.open("files"))


def test_a_bucket_is_checked_once_for_all_jobs(
    storage: GcsDouble, tmp_path: Path, picture: Path
) -> None:
    outputs = Outputs(_variables(storage), output_dir=tmp_path)

    async def jobs() -> list[Any]:
        sinks = [outputs.sink("gcs", version_id="demo", job=f"job-{number}") for number in range(4)]
        return [await sink.put(picture, PurePath("x.png")) for sink in await asyncio.gather(*sinks)]

    uris = [entry["uri"] for entry in asyncio.run(jobs())]
    assert uris == [f"gs://results/comfy/outputs/demo/job-{number}/x.png" for number in range(4)]
    assert sum("testPermissions" in str(it["path"]) for it in storage.asked) == 1


def test_the_bucket_is_not_checked_if_told_so(storage: GcsDouble, tmp_path: Path) -> None:
    variables = _variables(storage, GCS_VALIDATE="false", GCS_BUCKET="no-such-bucket")
    asyncio.run(Outputs(variables, output_dir=tmp_path).open("gcs"))
    assert storage.asked == []
    with pytest.raises(ComfyError, match="no-such-bucket is not there"):
        asyncio.run(Outputs({**variables, "GCS_VALIDATE": ""}, output_dir=tmp_path).open("gcs"))


def test_files_are_sent_at_the_same_time(storage: GcsDouble, tmp_path: Path, picture: Path) -> None:
    outputs = Outputs(_variables(storage), output_dir=tmp_path)
    storage.delay_uploads(0.5)

    async def seconds(job: str) -> float:
        sink = await outputs.sink("gcs", version_id="demo", job=job)
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*[sink.put(picture, PurePath(f"{it}.png")) for it in range(6)])
        return asyncio.get_running_loop().time() - began

    # A busy machine may be late once; what takes longer by itself does so each time.
    assert any(asyncio.run(seconds(job)) < 2 for job in "abc")
    assert len(storage.objects("results")) in (6, 12, 18)


def test_a_large_result_goes_to_the_bucket_that_there_is(
    storage: GcsDouble, tmp_path: Path
) -> None:
    (path := tmp_path / "x.bin").write_bytes(bytes(1_000_000))

    async def put(variables: dict[str, str]) -> dict[str, Any]:
        outputs = Outputs(variables, output_dir=tmp_path)
        sink = await outputs.sink("base64", version_id="demo", job="job", limit_bytes=1_000_000)
        entry = await sink.put(path, PurePath("x.bin"))
        await sink.finish({"files": [entry]})
        return entry

    assert asyncio.run(put(_variables(storage)))["type"] == "gcs"
    with pytest.raises(ComfyError, match="The result is 1.3 MB as JSON"):
        asyncio.run(put({}))


def test_a_job_cannot_ask_for_what_the_environment_does_not_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="GCS_BUCKET is not set"):
        asyncio.run(Outputs({}, output_dir=tmp_path).sink("gcs", version_id="demo", job="job"))


def test_no_client_is_imported_before_it_is_needed() -> None:
    import subprocess

    program = (
        "import sys; from rp_handler.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "import rp_handler.outputs.open\n"
        "print([it for it in ('google.cloud', 'google.auth', 'boto3', 'requests') "
        "if it in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
