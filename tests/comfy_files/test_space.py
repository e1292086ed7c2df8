from __future__ import annotations

from pathlib import Path

import pytest

from comfy_errors import OperationFailedError
from comfy_files.space import require_room


def test_a_need_beyond_the_free_space_is_refused_with_both_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    asked: list[Path] = []

    def usage(folder: Path) -> type[Usage]:
        asked.append(folder)
        return Usage

    monkeypatch.setattr("shutil.disk_usage", usage)
    folder = tmp_path / "new" / "folder"
    require_room([(folder, 600), (tmp_path, 400)], remedy="")
    with pytest.raises(OperationFailedError) as caught:
        require_room([(folder, 1500), (tmp_path, 1000)], remedy="Free some space.")
    assert caught.value.message == (
        f"2.5 kB are needed below {folder}, but only 1.0 kB are free there"
    )
    assert caught.value.remedy == "Free some space."
    assert set(asked) == {tmp_path}
    require_room([], remedy="")
