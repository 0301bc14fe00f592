"""How large a clip may be: files come from anywhere, and what they say of themselves decides what is allocated."""

from dataclasses import dataclass
from pathlib import Path

from warped_diffusion.errors import UserError

PIXELS = 2**27
"""In one frame, read or written: 15 360 x 8 640, which is 4K enlarged four times, fits."""

FRAMES = 5_000_000
"""Of one clip: a day at 58 frames a second."""


@dataclass(frozen=True)
class Limits:
    """The most pixels in a frame, read or written, and the most frames that are read of a clip.

    Raises: UserError for a limit below 1.
    """

    pixels: int = PIXELS
    frames: int = FRAMES

    def __post_init__(self) -> None:
        if self.pixels < 1 or self.frames < 1:
            raise UserError(f"limits are whole numbers from 1 up, got {self.pixels} pixels and {self.frames} frames")

    @classmethod
    def of(cls, pixels: int | None, frames: int | None) -> "Limits":
        """Those given, and the usual ones where there is None."""
        return cls(PIXELS if pixels is None else pixels, FRAMES if frames is None else frames)

    def check_size(self, size: tuple[int, int], what: str) -> None:
        """Raises: UserError if frames of (height, width) pixels are too large; `what` begins the sentence."""
        height, width = size
        if height * width > self.pixels:
            raise UserError(
                f"{what} is {width}x{height}, {height * width} pixels, and {self.pixels} are allowed: raise "
                "--max-pixels if that is meant"
            )

    def check_frames(self, count: int, path: Path) -> None:
        """Raises: UserError if so many frames of a clip are too many."""
        if count > self.frames:
            raise UserError(
                f"{path} holds more than {self.frames} frames: give a --range, or raise --max-frames if that is meant"
            )


USUAL = Limits()
