"""Which Pythons a spec may ask for."""

from __future__ import annotations

import pytest

from comfy_errors import InvalidInputError
from runpod_comfy.lock.python.pins import require_python


@pytest.mark.parametrize("python", [None, "3.11", "3.13"])
def test_a_python_that_exists_is_accepted(python: str | None) -> None:
    require_python(python)


@pytest.mark.parametrize("python", ["3.2", "3.99"])
def test_a_python_that_nobody_can_install_is_refused(python: str) -> None:
    with pytest.raises(InvalidInputError, match=f"'options.python' is '{python}'") as raised:
        require_python(python)
    assert "Use one from 3.8 to 3." in raised.value.remedy
