"""The function: noise is read from it, and what reading it does that interpolating cannot."""

from pathlib import Path

import torch
from torch import Tensor

from scripts.figures.drawing import BLUE, INK, LINE, ORANGE, SMALL, SOFT, WIDTH, Card, tinted, write_figure, write_film
from warped_diffusion.flow import identity_map
from warped_diffusion.flow import sample as read
from warped_diffusion.noise import GaussianField

SIDE = 16
"""Pixels a side of the grid that slides."""
CHANNELS = 8
"""One is shown; the variance is that of all, over more pixels than are shown."""
TRAVEL = (2.0, 2.0)
"""How far it does, pixels."""
FRAMES = 17
ROW = 34
"""Of the function, the one that is drawn as a line: rough, as most are."""
FINENESS = 8
"""Points a pixel at which the function is drawn."""


def make(folder: Path) -> list[Path]:
    field = GaussianField(CHANNELS, (96, 96), "white", seed=11)
    return [line(field, folder / "function.webp"), film(field, folder / "function-film.webp")]


def line(field: GaussianField, path: Path) -> Path:
    """A row of the function, its pixels, and the two ways to get at what lies half a pixel on."""
    pixels, left, right, middle, high = 15, 40, WIDTH - 24, 142, 38
    card = Card(286)
    step = (right - left) / (pixels - 1)

    def place(x: float, value: float) -> tuple[float, float]:
        return left + x * step, middle - value * high

    def row(points: Tensor) -> list[float]:
        return field(torch.stack([points + 20, torch.full_like(points, ROW)], -1)[None])[0, 0].tolist()

    fine = torch.arange(0, pixels - 1 + 1e-6, 1 / 24, dtype=torch.float64)
    grid = torch.arange(pixels, dtype=torch.float64)
    between = grid[:-1] + 0.5
    values, there = row(grid), row(between)
    card.line([place(0, 0), place(pixels - 1, 0)], LINE)
    card.line([place(float(x), v) for x, v in zip(grid, values, strict=True)], ORANGE, 1)
    card.line([place(float(x), v) for x, v in zip(fine, row(fine), strict=True)], BLUE, 2)
    for x, v in zip(between.tolist(), there, strict=True):
        mean = (values[int(x)] + values[int(x) + 1]) / 2
        card.line([place(x, v), place(x, mean)], LINE, 1)
        card.dot(place(x, v), 4.5, "#ffffff", BLUE)
        card.dot(place(x, mean), 4, ORANGE)
    for x, v in zip(grid.tolist(), values, strict=True):
        card.dot(place(x, v), 5, INK)
    card.text((20, 10), "One row of the function", color=INK)
    legend = [
        (left, 250, INK, "at the pixels: the noise of a frame"),
        (left, 270, BLUE, "half a pixel on, read: noise again"),
        (WIDTH / 2 + 8, 270, ORANGE, "half a pixel on, interpolated: less"),
    ]
    for x, y, color, words in legend:
        card.dot((x - 12, y), 4.5, color if color != BLUE else "#ffffff", color)
        card.text((x, y), words, SMALL, SOFT, "lm")
    return write_figure(card, path)


def film(field: GaussianField, path: Path) -> Path:
    """The grid slides over the function: what is read stays noise, what is interpolated fades between pixels."""
    first = field.grid()
    origin = torch.tensor([20.0, 20.0])
    window = identity_map(4 * SIDE, 4 * SIDE) + origin
    reach = SIDE + 4
    fine = identity_map(reach * FINENESS, reach * FINENESS) / FINENESS + origin - 1
    ground = tinted(field(fine)[0])
    cards = []
    for frame in range(FRAMES):
        moved = torch.tensor(TRAVEL) * frame / (FRAMES - 1)
        there = window + moved
        card = Card(282)
        panel, top = 192, 44
        columns = [20 + k * (panel + 12) for k in range(3)]
        names = ("the function", "read", "interpolated")
        for x, name, color in zip(columns, names, (INK, BLUE, ORANGE), strict=True):
            card.text((x + panel / 2, 24), name, color=color, anchor="mm")
        card.picture((columns[0], top), (panel, panel), ground, smooth=True)
        pixel = panel / reach
        corner = [float(1 - 0.5 + m) * pixel for m in moved]
        card.box((columns[0] + corner[0], top + corner[1]), (SIDE * pixel, SIDE * pixel), None, INK)
        found = (field(there), read(first, there, "bilinear"))
        for x, values in zip(columns[1:], found, strict=True):
            card.picture((x, top), (panel, panel), tinted(values[0, :SIDE, :SIDE]), smooth=False)
            card.text((x + panel / 2, top + panel + 22), f"variance {values.var():.2f}", SMALL, SOFT, "mm")
        card.text((columns[0] + panel / 2, top + panel + 22), "a grid slides over it", SMALL, SOFT, "mm")
        cards.append(card)
    return write_film(cards, path, 220, quality=40)
