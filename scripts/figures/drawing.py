"""Cards to draw on: light paper with its own ground, so that they read the same on a light and on a dark page."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

WIDTH = 640
"""Of every card, in the units that are drawn in. On a telephone it is shown at half of that: letters are large."""
FINE = 2
"""Pixels drawn for one unit; films and figures are brought down to one by averaging."""
TEXT, SMALL = 18, 15
PAPER, INK, SOFT, LINE = "#fcfbf8", "#22252b", "#5b626d", "#d8d5cc"
BLUE, ORANGE, GREEN = "#2b6cb0", "#c8620a", "#2f855a"
LOW, MIDDLE, HIGH = (np.array(c, float) for c in ((28, 78, 140), (246, 243, 236), (186, 84, 12)))
REACH = 2.5
"""Standard deviations of noise at which its colours end."""


class Card:
    """A sheet of `WIDTH` by `height` units, its origin at the upper left."""

    def __init__(self, height: int) -> None:
        self.image = Image.new("RGB", (WIDTH * FINE, height * FINE), PAPER)
        self.pen = ImageDraw.Draw(self.image)

    def text(self, at: tuple[float, float], words: str, size: int = TEXT, color: str = INK, anchor: str = "la") -> None:
        font = ImageFont.load_default(size * FINE)
        self.pen.text((at[0] * FINE, at[1] * FINE), words, fill=color, font=font, anchor=anchor)

    def line(self, points: Sequence[tuple[float, float]], color: str = INK, width: float = 1.5) -> None:
        self.pen.line([(x * FINE, y * FINE) for x, y in points], color, round(width * FINE), joint="curve")

    def dot(self, at: tuple[float, float], radius: float, color: str, rim: str | None = None) -> None:
        x, y, r = at[0] * FINE, at[1] * FINE, radius * FINE
        self.pen.ellipse((x - r, y - r, x + r, y + r), fill=color, outline=rim, width=FINE)

    def box(self, corner: tuple[float, float], size: tuple[float, float], fill: str | None, rim: str | None) -> None:
        (x, y), (w, h) = corner, size
        place = (x * FINE, y * FINE, (x + w) * FINE, (y + h) * FINE)
        self.pen.rounded_rectangle(place, 3 * FINE, fill, rim, round(1.5 * FINE))

    def picture(self, corner: tuple[float, float], size: tuple[float, float], colors: np.ndarray, smooth: bool) -> None:
        """(h, w, 3) of 0 to 255, stretched over a place of `size` (width, height)."""
        place = (round(size[0] * FINE), round(size[1] * FINE))
        how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
        part = Image.fromarray(colors.clip(0, 255).round().astype(np.uint8)).resize(place, how)
        self.image.paste(part, (round(corner[0] * FINE), round(corner[1] * FINE)))

    def finished(self) -> Image.Image:
        return self.image.reduce(FINE)


def tinted(values: Tensor) -> np.ndarray:
    """Noise as colours: (H, W) of unit variance -> (H, W, 3), blue below 0, orange above."""
    v = (values.double().numpy() / REACH).clip(-1, 1)[..., None]
    return np.where(v < 0, MIDDLE + v * (MIDDLE - LOW), MIDDLE + v * (HIGH - MIDDLE))


def shown(frame: Tensor) -> np.ndarray:
    """A frame as colours: (3, H, W) in [0, 1] -> (H, W, 3) of 0 to 255."""
    return frame.permute(1, 2, 0).double().numpy() * 255


def write_figure(card: Card, path: Path) -> Path:
    card.finished().save(path, quality=88, method=6)
    return path


def write_film(cards: Sequence[Card], path: Path, milliseconds: int, quality: int | None = None) -> Path:
    """An endless film, without loss where no quality is given. The last card stays for a second more."""
    first, *others = (card.finished() for card in cards)
    times = [milliseconds] * len(others) + [milliseconds + 1000]
    how = {"lossless": True} if quality is None else {"quality": quality, "method": 6}
    first.save(path, save_all=True, append_images=others, duration=times, loop=0, minimize_size=True, **how)
    return path
