"""The grid that a model works on, and how pictures and motion of the restored frame come onto it."""

import torch.nn.functional as F
from torch import Tensor

from warped_diffusion.flow.maps import extend_map, resize_map, resize_values


class Canvas:
    """A frame, continued to the right and below until its sides are what the model takes, in cells of `factor` pixels.

    Args:
        size: (height, width) of the restored frame.
        factor: pixels per cell along an axis; 1 for a model of pixels.
        multiple: what the sides must be multiples of, itself a multiple of `factor`.
    """

    def __init__(self, size: tuple[int, int], factor: int = 1, multiple: int = 1) -> None:
        height, width = size
        self.size = size
        self.margins = (0, -width % multiple, 0, -height % multiple)
        """Pixels added left, right, above and below."""
        self.whole = (height + self.margins[3], width + self.margins[1])
        """(height, width) with what is added, pixels."""
        self.grid = (self.whole[0] // factor, self.whole[1] // factor)
        """(height, width) in cells."""

    def continued(self, pictures: Tensor) -> Tensor:
        """With the edge repeated over what is added; what is no picture of the frame, and no reduced one, stays.

        Args:
            pictures: (B, C, H, W), or (B, C, H / f, W / f) for a whole f that the margins divide by.
        """
        height, width = self.size
        if pictures.ndim != 4 or not any(self.margins):
            return pictures
        f = max(1, height // pictures.shape[-2])
        if tuple(pictures.shape[-2:]) != (height // f, width // f):
            return pictures
        return F.pad(pictures, tuple(margin // f for margin in self.margins), mode="replicate")

    def cropped(self, pictures: Tensor) -> Tensor:
        """(..., H', W') of the whole canvas, in pixels -> (..., H, W)."""
        return pictures[..., : self.size[0], : self.size[1]]

    def map(self, positions: Tensor) -> Tensor:
        """A map of the frame's pixels, (H, W, 2), as one of the cells: their mean displacement, in cells."""
        return resize_map(extend_map(positions, self.margins), self.grid)

    def values(self, values: Tensor) -> Tensor:
        """A field of the frame's pixels, (H, W), as one of the cells: averages, found per pixel and pooled."""
        return resize_values(self.continued(values[None, None])[0, 0], self.grid)
