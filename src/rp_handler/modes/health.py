"""When RunPod is asked to replace a worker: its ComfyUI cannot be brought back."""

from __future__ import annotations

from rp_handler.errors import DeviceFaultError, EngineCrashedError, EngineStartError

_FAULTS = 3


class Health:
    """Judges a worker by how its jobs end."""

    def __init__(self) -> None:
        self._faults = 0

    def succeeded(self) -> None:
        """ComfyUI did a job."""
        self._faults = 0

    def is_lost(self, error: Exception) -> bool:
        """Whether to replace a worker whose job failed with `error`: ComfyUI does not start again,
        or it ended or lost the GPU in several jobs, and did none in between.
        """
        if isinstance(error, EngineStartError):
            return True
        if isinstance(error, EngineCrashedError | DeviceFaultError):
            self._faults += 1
            return self._faults >= _FAULTS
        return False
