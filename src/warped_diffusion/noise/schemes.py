"""Noise schemes: which noise each frame of a shot starts from, given where its pixels come from."""

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.noise.field import GaussianField
from warped_diffusion.noise.fresh import Mixed, Resample
from warped_diffusion.noise.integral import Integral
from warped_diffusion.noise.interpolated import Bilinear, Nearest
from warped_diffusion.noise.positions import check_shape
from warped_diffusion.noise.seeds import FRESH
from warped_diffusion.noise.spectra import Spectrum
from warped_diffusion.noise.stateless import Stateless
from warped_diffusion.noise.warped import Warped


class Scheme(Protocol):
    """The noise of one shot, frame by frame. All schemes of one seed and shot but `resample` begin with one frame."""

    def frame(
        self, index: int, positions: Tensor, backward: Tensor | None = None, known: Tensor | None = None
    ) -> Tensor:
        """Noise of frame `index`: a function of these arguments alone, except where a scheme uses `backward`.

        Args:
            index: 0 for the first frame of the shot.
            positions: (..., H, W, 2) absolute map P_j, pixels: where each pixel was in the shot's first frame. Leading
                dimensions are a batch of maps of one frame.
            backward: (H, W, 2), pixels: where each pixel was in the frame before, where that is known. A scheme that
                carries noise on from frame to frame (`gp`) then wants its frames in order; the others do without.
            known: (H, W) in [0, 1], how far each pixel was seen in the frame before, with `backward`; None for wholly.
                `gp` draws noise anew where it was not, the others do not look at it.
        Returns: (..., channels, H, W) float32 on the positions' device.
        Raises: ShapeError for a map that is not of the frame's size; UserError for positions that are not finite, where
            they are looked at.
        """
        ...

    def state(self) -> dict[str, Any]:
        """All that frames to come depend on beside the scheme's own arguments, tensors and numbers: for `resume`."""
        ...

    def resume(self, state: dict[str, Any]) -> None:
        """Go on, as a scheme of the same arguments, from the `state` of another."""
        ...


class Fixed(Stateless):
    """Every frame starts from the same image of noise, which stays with the screen while the picture moves."""

    def __init__(self, channels: int, size: tuple[int, int], spectrum: str | Spectrum, seed: int, shot: int) -> None:
        self._noise = GaussianField(channels, size, spectrum, seed=(seed, shot)).grid()

    def frame(
        self, index: int, positions: Tensor, backward: Tensor | None = None, known: Tensor | None = None
    ) -> Tensor:
        check_shape(positions, (self._noise.shape[-2], self._noise.shape[-1]))
        return self._noise.to(positions.device).expand(*positions.shape[:-3], *self._noise.shape).clone()


SCHEMES: dict[str, Callable[[int, tuple[int, int], str | Spectrum, int, int], Scheme]] = {
    "fixed": Fixed,
    "resample": Resample,
    "nearest": Nearest,
    "bilinear": Bilinear,
    "integral": Integral,
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
    fresh: float = 0.0,
) -> Scheme:
    """The scheme of that name for one shot.

    Args:
        size: (height, width) of a frame, pixels.
        spectrum: the one that the model was trained with.
        seed, shot: the key of the shot's noise.
        fresh: share of the noise's variance that is drawn anew in every frame, 0 to 1 (see `Mixed`).
    Raises: UserError if no scheme has that name, or `fresh` is no share.
    """
    if name not in SCHEMES:
        raise UserError(f'noise "{name}" is not known: choose one of {", ".join(SCHEMES)}')
    scheme = SCHEMES[name](channels, size, spectrum, seed, shot)
    if fresh == 0:
        return scheme
    return Mixed(scheme, fresh, Resample(channels, size, spectrum, seed, shot, FRESH))
