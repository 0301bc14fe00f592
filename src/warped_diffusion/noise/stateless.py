"""Noise of which every frame is a function of its own arguments."""

from typing import Any


class Stateless:
    """A scheme that carries nothing from frame to frame, and so has nothing to go on from."""

    def state(self) -> dict[str, Any]:
        return {}

    def resume(self, state: dict[str, Any]) -> None:
        pass
