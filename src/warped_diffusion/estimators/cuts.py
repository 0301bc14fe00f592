r"""Where a clip's shots begin: told of each frame as it comes, from it and from those before it alone.

Two frames of a shot show the same things, moved. So both are made small, and every block of one is looked for in the
other, wherever motion may have brought it, as a pattern without its brightness and contrast: flashes, fades and fast
motion keep patterns, a cut does not. What cannot be found again, S, is then weighed by how much the frames differ
where they are, D, as the mean absolute difference over the mean absolute deviation: √(S min(D, 1)). What moves fast
through a part of the frame hides much and leaves D small, a pan makes D large and leaves S small, a cut makes both
large. A clip that moves wildly raises the bar for itself. A pan that starts from rest with more than a tenth of the
width in one frame is taken for a cut, and little is lost by it: hardly anything there can be followed.
"""

from collections import deque
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LONG_SIDE = 64
"""Pixels of the small pictures, at most: the more there are, the more of noise and of compression is compared."""

BLOCK = 8
"""Side of what is looked for, pixels of the small picture. Smaller blocks are found anywhere, larger ones get torn."""

REACH = 0.25
"""Of the longer side: as far as anything may move from a frame to the next and still be found."""

SOFT = 1.0
"""Standard deviation of the Gaussian that softens the small pictures, pixels: without it noise is a pattern."""

FAINT = 3 / 255
"""Contrast at which a pattern counts half: a few steps of 8 bits."""

CLEAR = 4 / 255
"""Contrast of a frame in which something can be recognised; one with less, or blown out to white, is passed over."""

SUDDEN = 0.05
"""Contrast that no fade reaches in its first clear frame, where nothing was seen before."""

WHITE = 0.9
"""A block with a brighter pixel, in any channel, may be clipped, and is not looked for."""

NOISE = 3.0
"""Blocks of less than so many times the variance that noise leaves in them say nothing."""

THRESHOLD = 0.28
"""Measured on six clips, whole and reduced 4 and 8 times (`scripts/check_cuts.py`): 0.22 or less within their shots,
0.36 or more where one follows another."""

EASE, MEMORY = 0.5, 8
"""The share of the mean of the last so many frames' values by which the threshold is raised."""


class CutDetector:
    """Tells of each frame, in order, whether it begins a new shot.

    No delay and no look ahead: a frame that shows nothing (black, white, a flash that blows it out) begins no shot, and
    what follows is compared with the last clear frame before it. Fades are not looked for: after one through black,
    the first frame in which another scene can be recognised begins the shot, a dissolve is not noticed.
    A shot's frames are judged by what was seen since it began, so they are judged the same when it stands alone.
    """

    def __init__(self) -> None:
        self._last: _Look | None = None
        """The last frame in which anything could be seen."""
        self._recent: deque[float] = deque(maxlen=MEMORY)
        self._begun = False

    def advance(self, frame: Tensor) -> bool:
        """Whether the next frame, (3, h, w) in [0, 1], begins a new shot; the first one of all continues nothing."""
        look, is_first = _look(frame), not self._begun
        self._begun = True
        if look.contrast < CLEAR:
            return False
        last, self._last = self._last, look
        if last is None:
            return not is_first and look.contrast > SUDDEN
        value = change(last, look)
        if value > THRESHOLD + EASE * sum(self._recent) / max(len(self._recent), 1):
            self._recent.clear()
            return True
        self._recent.append(value)
        return False

    def state(self) -> dict[str, Any]:
        """All that is remembered, tensors and numbers: for `resume`. About 1.5 MB, whatever the size of the frames."""
        last = None if self._last is None else self._last._asdict()
        return {"last": last, "recent": list(self._recent), "begun": self._begun}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self._last = None if state["last"] is None else _Look(**state["last"])
        self._recent = deque(state["recent"], maxlen=MEMORY)
        self._begun = state["begun"]


class _Look(NamedTuple):
    """What is compared of a frame: h and w are those of its small picture.

    `blocks` and `patches` are (N, 3 * side²) without their means, of unit length where they are not faint: those that
    are looked for, side by side and half overlapping, and those at every place. `shares` (N,) is what the blocks count.
    """

    picture: Tensor
    blocks: Tensor
    patches: Tensor
    shares: Tensor
    side: int
    contrast: float


def change(earlier: _Look, later: _Look) -> float:
    """0 for two frames that show the same, however moved and lit; towards 1 for those that have nothing in common."""
    lost = min(_lost(earlier, later), _lost(later, earlier))
    return (max(lost, 0.0) * min(_difference(earlier.picture, later.picture), 1.0)) ** 0.5


def _lost(of: _Look, within: _Look) -> float:
    """The share of one frame's pattern that is not found again in the other, at most `REACH` away."""
    total = (of.shares * of.blocks.square().sum(1)).sum()
    if total <= 0:
        return 1.0
    found = of.blocks @ within.patches.T
    found = found.masked_fill(_too_far(of, within), 0).amax(1).clamp(min=0)
    return 1 - float((of.shares * found).sum() / total)


def _too_far(of: _Look, within: _Look) -> Tensor:
    """(blocks, patches): whether they lie further from each other than anything moves."""
    height, width = of.picture.shape[-2:]
    blocks = _places(height, width, of.side, _stride(of.side))
    patches = _places(height, width, within.side, 1)
    return torch.cdist(blocks, patches, p=torch.inf) > REACH * max(height, width)


def _difference(earlier: Tensor, later: Tensor) -> float:
    """Mean absolute difference, as a multiple of what two frames differ from their own means."""
    own = sum(float((picture - picture.mean((-2, -1), keepdim=True)).abs().mean()) for picture in (earlier, later)) / 2
    return float((earlier - later).abs().mean()) / (own + FAINT)


def _look(frame: Tensor) -> _Look:
    frame = frame.detach().cpu().float()
    height, width = frame.shape[-2:]
    scale = max(height, width) / LONG_SIDE
    if scale > 1:
        size = max(1, round(height / scale)), max(1, round(width / scale))
        frame = F.interpolate(frame[None], size=size, mode="area")[0]
    picture, gain = _soften(frame)
    side = min(BLOCK, *picture.shape[-2:])
    blocks, patches = _cut_out(picture, side, _stride(side)), _cut_out(picture, side, 1)
    variance = blocks.square().mean(1)
    # White noise is what a median pixel differs from its surroundings by; a fine texture is taken for noise in part.
    noise = gain * float((frame - picture).abs().median()) / 0.6745
    brightest = frame.amax(0, keepdim=True)
    seen = F.unfold(brightest[None], side, stride=_stride(side))[0].amax(0) < WHITE
    shares = (variance - NOISE * noise**2).clamp(min=0).sqrt() * seen
    contrast = float(shares.square().mean().sqrt())
    faint = FAINT**2 * blocks.shape[1]
    blocks, patches = (x / (x.square().sum(1, keepdim=True) + faint).sqrt() for x in (blocks, patches))
    return _Look(picture, blocks, patches, shares, side, contrast)


def _soften(frame: Tensor) -> tuple[Tensor, float]:
    """The frame under a Gaussian, and the share of white noise's deviation that is left in it."""
    radius = round(2 * SOFT)
    taps = torch.exp(-torch.arange(-radius, radius + 1).float().square() / (2 * SOFT**2))
    taps = taps / taps.sum()
    padded = F.pad(frame[None], (radius,) * 4, mode="replicate")[0][:, None]
    soft = F.conv2d(F.conv2d(padded, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))[:, 0]
    return soft, float(taps.square().sum())


def _cut_out(picture: Tensor, side: int, stride: int) -> Tensor:
    """(places, 3 * side²): the squares at every `stride`-th place, each channel without its mean."""
    squares = F.unfold(picture[None], side, stride=stride)[0].T.unflatten(1, (3, -1))
    return (squares - squares.mean(-1, keepdim=True)).flatten(1)


def _places(height: int, width: int, side: int, stride: int) -> Tensor:
    """(places, 2): the corners of `_cut_out`'s squares, in its order."""
    rows, columns = (torch.arange(0, extent - side + 1, stride).float() for extent in (height, width))
    return torch.cartesian_prod(rows, columns)


def _stride(side: int) -> int:
    return max(1, side // 2)
