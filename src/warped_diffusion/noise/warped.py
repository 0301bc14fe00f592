"""Noise that follows the picture and keeps its statistics whatever the motion: the scheme called gp."""

from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.flow.maps import extend_map
from warped_diffusion.noise.lattice import Lattice, amplitude, filtered, lattice_size
from warped_diffusion.noise.positions import FAR, check_finite, check_shape, item_by_item
from warped_diffusion.noise.seeds import FILL, standard_normal
from warped_diffusion.noise.spectra import Spectrum, White, get_spectrum
from warped_diffusion.noise.transport import Transport, pair

MARGIN = 16
"""Pixels of fresh noise around a frame whose fill is carried on: what may enter within one step."""

RIM = 8
"""Pixels around a frame on which white noise is made before it is filtered to another spectrum."""


class Warped:
    r"""Every frame starts from one random function, carried along by the motion, ξ(P_j(x)).   [paper, §3.1]

    Read through a map that stretches or turns it, a function's noise is no longer the noise that the network knows, and
    smooth noise is taken for content. So it goes through a `Transport`, which keeps it white, and what
    the first frame's noise cannot give (the fine grain of a picture that grows, the corners of a band that turned, a
    place that the map tears) is filled by a second white noise. That one is carried from frame to frame where
    `backward` is given, by the same means, and otherwise stays with the screen. Another spectrum than white is a filter
    on the frame's white noise; it commutes with translations.

    Where `backward` is given, frames are asked for in order, from the first; otherwise in any.
    """

    def __init__(self, channels: int, size: tuple[int, int], spectrum: str | Spectrum, seed: int, shot: int) -> None:
        self._channels, self._size, self._key = channels, size, (seed, shot)
        self._spectrum = get_spectrum(spectrum)
        self._white = isinstance(self._spectrum, White)
        # The grid that white noise is made on has odd sides where it is to be filtered (see `lattice_size`).
        odd = (RIM, RIM + 1 - size[1] % 2, RIM, RIM + 1 - size[0] % 2)
        self._margins = (0, 0, 0, 0) if self._white else odd
        left, right, top, bottom = self._margins
        height, width = size[0] + top + bottom, size[1] + left + right
        self._base = Lattice.draw(channels, size, White(), self._key, None)
        self._fill_size = lattice_size((height, width), (MARGIN, MARGIN))
        self._even = channels + channels % 2
        self._last = 0
        self._fill = standard_normal((*self._key, FILL), (self._even, height, width))

    def frame(self, index: int, positions: Tensor, backward: Tensor | None = None) -> Tensor:
        check_shape(positions, self._size)
        check_finite(positions)
        self._advance(index, backward)
        return item_by_item(self._carried, positions, self._channels)

    def _carried(self, positions: Tensor) -> Tensor:
        """The noise of one frame: (H, W, 2) -> (channels, H, W) float64."""
        lattice = (self._base.height, self._base.width)
        whole = Transport(positions, lattice)
        if whole.is_translation:
            return whole.apply(self._base.modes * amplitude(self._spectrum, lattice))[: self._channels]
        transport = whole if self._white else Transport(extend_map(positions, self._margins), lattice)
        white = transport.complete(transport.apply(self._base.modes), self._fill)[: self._channels]
        if self._white:
            return white
        height, width = self._size
        return filtered(white, self._spectrum)[:, RIM : RIM + height, RIM : RIM + width]

    def _advance(self, index: int, backward: Tensor | None) -> None:
        """Carries the fill from the frame before to frame `index`."""
        if backward is None or index == self._last:
            return
        if index != self._last + 1:
            raise UserError(f"frame {index} follows frame {self._last}: ask for frames in order, or leave out backward")
        check_shape(backward, self._size)
        check_finite(backward)
        self._last = index
        step = extend_map(backward.detach().cpu().double().clamp(-FAR, FAR), self._margins)
        height, width = self._fill.shape[-2:]
        canvas = standard_normal((*self._key, FILL, index), (self._even, *self._fill_size))
        inner = canvas[:, MARGIN : MARGIN + height, MARGIN : MARGIN + width]
        fresh = inner.clone()  # what lies around it is fresh as well, and independent of it
        inner.copy_(self._fill)
        corner = step.new_tensor([MARGIN + self._margins[0], MARGIN + self._margins[2]])
        transport = Transport(step + corner, self._fill_size)
        self._fill = transport.complete(transport.apply(pair(canvas)), fresh)
