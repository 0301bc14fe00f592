"""Noise schemes: which noise each frame of a shot starts from, given where its pixels come from."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.noise.field import GaussianField
from warped_diffusion.noise.grid import PADDING
from warped_diffusion.noise.spectra import Spectrum


class Scheme(Protocol):
    """The noise of one shot, frame by frame; a frame's noise depends on its own arguments and on no earlier call."""

    def frame(self, index: int, positions: Tensor) -> Tensor:
        """Noise of frame `index`.

        Args:
            index: 0 for the first frame of the shot.
            positions: (H, W, 2) absolute map P_j, pixels: where each pixel was in the shot's first frame.
        Returns: (channels, H, W) float32, unit variance, on the positions' device.
        """
        ...


class Fixed:
    """Every frame starts from the same image of noise, which stays with the screen while the picture moves."""

    def __init__(self, channels: int, size: tuple[int, int], spectrum: str | Spectrum, seed: int, shot: int) -> None:
        self._noise = GaussianField(channels, size, spectrum, seed=(seed, shot)).grid()

    def frame(self, index: int, positions: Tensor) -> Tensor:
        return self._noise.to(positions.device, copy=True)


class Resample:
    """Every frame starts from noise of its own: what an image model applied frame by frame does."""

    def __init__(self, channels: int, size: tuple[int, int], spectrum: str | Spectrum, seed: int, shot: int) -> None:
        self._channels, self._size, self._spectrum = channels, size, spectrum
        self._key = (seed, shot)

    def frame(self, index: int, positions: Tensor) -> Tensor:
        # Read on its own pixels only, the field needs no room for motion: a margin that parts its edges is enough.
        field = GaussianField(self._channels, self._size, self._spectrum, seed=(*self._key, index), padding=PADDING)
        return field.grid().to(positions.device)


class Warped:
    """Every frame starts from the same random function, carried along by the motion: ξ(P_j(x)).   [paper, §3.1]"""

    def __init__(self, channels: int, size: tuple[int, int], spectrum: str | Spectrum, seed: int, shot: int) -> None:
        self._field = GaussianField(channels, size, spectrum, seed=(seed, shot))

    def frame(self, index: int, positions: Tensor) -> Tensor:
        expected = (*self._field.size, 2)
        if positions.shape != expected:
            raise ShapeError(f"positions have shape {tuple(positions.shape)}, expected {expected}, one per pixel")
        return self._field(positions)


SCHEMES: dict[str, Callable[[int, tuple[int, int], str | Spectrum, int, int], Scheme]] = {
    "fixed": Fixed,
    "resample": Resample,
    "gp": Warped,
}


def make_scheme(
    name: str,
    *,
    channels: int,
    size: tuple[int, int],
    spectrum: str | Spectrum = "white",
    seed: int = 0,
    shot: int = 0,
) -> Scheme:
    """The scheme of that name for one shot; `fixed` and `gp` of one seed begin with the same frame.

    Args:
        size: (height, width) of a frame, pixels.
        spectrum: the one that the model was trained with.
        seed, shot: the key of the shot's noise.
    Raises: UserError if no scheme has that name.
    """
    if name not in SCHEMES:
        raise UserError(f'noise "{name}" is not known: choose one of {", ".join(SCHEMES)}')
    return SCHEMES[name](channels, size, spectrum, seed, shot)
