"""Noise that follows the picture and keeps its statistics whatever the motion: the scheme called gp."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.flow.maps import compose, extend_map, identity_map, interpolate
from warped_diffusion.noise.lattice import Lattice, amplitude, filtered, lattice_size
from warped_diffusion.noise.positions import FAR, check_finite, check_shape, item_by_item
from warped_diffusion.noise.seeds import AROUND, FILL, standard_normal
from warped_diffusion.noise.spectra import Spectrum, White, get_spectrum
from warped_diffusion.noise.transport import Transport, pair

MARGIN = 16
"""Pixels of fresh noise around a frame whose fill is carried on: what may enter within one step."""

RIM = 8
"""Pixels around a frame on which white noise is made before it is filtered to another spectrum."""

WORN = 0.5
"""When less than this share of a frame's noise comes from the function, the frame begins a new one."""


class Warped:
    r"""Every frame starts from one random function, carried along by the motion, ξ(P_j(x)).   [paper, §3.1]

    Read through a map that stretches or turns it, a function's noise is no longer the noise that the network knows, and
    smooth noise is taken for content. So it goes through a `Transport`, which keeps it white, and what
    the first frame's noise cannot give (the fine grain of a picture that grows, the corners of a band that turned, a
    place that the map tears, or that was not seen before) is filled by a second white noise. That one is carried from
    frame to frame where `backward` is given, by the same means, and otherwise stays with the screen. Another spectrum
    than white is a filter on the frame's white noise; it commutes with translations.

    Where `backward` is given, frames are asked for in order, from the first; otherwise in any. In order, a long clip
    wears its function out, by zooms, turns and all that is new: once less than `WORN` of a frame's noise comes from
    it, that frame's white noise, as it is, becomes the middle of a new function.
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
        # The frame whose white noise the function was last begun anew with, and that noise.
        self._planted: tuple[int, Tensor] | None = None
        # Of the current frame, since the function began: its map, None for the one that is given, and how far each
        # pixel has been seen.
        self._since: Tensor | None = None
        self._known: Tensor | None = None

    def frame(
        self, index: int, positions: Tensor, backward: Tensor | None = None, known: Tensor | None = None
    ) -> Tensor:
        check_shape(positions, self._size)
        check_finite(positions)
        self._advance(index, backward, known)
        carried = partial(self._carried, index=index, in_order=backward is not None and positions.ndim == 3)
        return item_by_item(carried, positions, self._channels)

    def _carried(self, positions: Tensor, index: int, in_order: bool) -> Tensor:
        """The noise of one frame: (H, W, 2) -> (channels, H, W) float64."""
        lattice = (self._base.height, self._base.width)
        positions = positions if self._since is None else self._since
        whole = Transport(positions, lattice, self._known)
        if whole.is_translation:
            return whole.apply(self._base.modes * amplitude(self._spectrum, lattice))[: self._channels]
        transport = whole
        if not self._white:
            transport = Transport(extend_map(positions, self._margins), lattice, self._extended(self._known))
        given = transport.apply(self._base.modes)
        white = transport.complete(given, self._fill)[: self._channels]
        if in_order and given[: self._channels].square().mean() < WORN:
            self._begin_anew(white, index)
        if self._white:
            return white
        height, width = self._size
        return filtered(white, self._spectrum)[:, RIM : RIM + height, RIM : RIM + width]

    def _begin_anew(self, white: Tensor, index: int) -> None:
        """Make this frame's white noise, margins and all, the middle of a new function."""
        self._plant(white, index)
        self._since = identity_map(*self._size, dtype=torch.float64)
        self._known = None
        # Part of the fill is in the function now: what fills that up must be independent of it.
        self._fill = standard_normal((*self._key, AROUND, index, FILL), self._fill.shape)

    def _plant(self, white: Tensor, index: int) -> None:
        height, width = white.shape[-2:]
        around = max(height, self._base.height), max(width, self._base.width)  # a frame may be less than its margins
        canvas = standard_normal((*self._key, AROUND, index), (self._channels, *around))
        canvas[:, :height, :width] = white
        left, _, top, _ = self._margins
        self._base = Lattice(canvas.roll((-top, -left), (-2, -1)), White())
        self._planted = index, white

    def state(self) -> dict[str, Any]:
        planted = None if self._planted is None else {"index": self._planted[0], "white": self._planted[1]}
        return {
            "last": self._last,
            "fill": self._fill,
            "since": self._since,
            "known": self._known,
            "planted": planted,
        }

    def resume(self, state: dict[str, Any]) -> None:
        if state["planted"] is not None:
            self._plant(state["planted"]["white"], state["planted"]["index"])
        self._last, self._fill = state["last"], state["fill"]
        self._since, self._known = state["since"], state["known"]

    def _advance(self, index: int, backward: Tensor | None, known: Tensor | None) -> None:
        """Carries the fill, and what is kept since the function began, from the frame before to frame `index`."""
        if backward is None or index == self._last:
            return
        if index != self._last + 1:
            raise UserError(f"frame {index} follows frame {self._last}: ask for frames in order, or leave out backward")
        check_shape(backward, self._size)
        check_finite(backward)
        if known is not None and tuple(known.shape) != tuple(self._size):
            raise ShapeError(f"known is {tuple(known.shape)}, expected {tuple(self._size)}, one value per pixel")
        self._last = index
        backward = backward.detach().cpu().double().clamp(-FAR, FAR)
        known = None if known is None else known.detach().cpu().double()
        if self._since is not None:
            self._since = compose(self._since, backward)
        if self._known is not None:
            before = interpolate(self._known[None], backward)[0]
            self._known = before if known is None else before * known
        else:
            self._known = known
        step = extend_map(backward, self._margins)
        height, width = self._fill.shape[-2:]
        canvas = standard_normal((*self._key, FILL, index), (self._even, *self._fill_size))
        inner = canvas[:, MARGIN : MARGIN + height, MARGIN : MARGIN + width]
        fresh = inner.clone()  # what lies around it is fresh as well, and independent of it
        inner.copy_(self._fill)
        corner = step.new_tensor([MARGIN + self._margins[0], MARGIN + self._margins[2]])
        transport = Transport(step + corner, self._fill_size, self._extended(known))
        self._fill = transport.complete(transport.apply(pair(canvas)), fresh)

    def _extended(self, known: Tensor | None) -> Tensor | None:
        """The same over the frame's margins."""
        return None if known is None else F.pad(known[None], self._margins, mode="replicate")[0]
