"""The flow: points of the sample clip, where they go, and the noise that goes with them."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from scripts.figures.drawing import INK, ORANGE, SMALL, SOFT, Card, shown, tinted, write_figure, write_film
from warped_diffusion.estimators import estimate_motion
from warped_diffusion.evaluate.moved import SAMPLE, positions_in_first
from warped_diffusion.flow import Motion, compose, identity_map
from warped_diffusion.noise import make_scheme
from warped_diffusion.tasks import area_average
from warped_diffusion.video import VideoReader

SIZE = (27, 48)
"""Of the grid that noise is drawn on: a cell for 13 by 13 pixels of the clip."""
SHOWN, LATE = 14, 13
"""Frames of the film, and the later one of the figure."""
POINTS = [(x, y) for y in (4, 10, 16, 22) for x in (3, 10, 17, 23, 29, 36, 44)]
PANEL, TOP = (296, 166), 44
COLUMNS = (16, 328)


class Scene(NamedTuple):
    """(N, 3, h, w) frames, (N, H, W) noise, and (N, points, 2) where the points are, in cells."""

    frames: Tensor
    noise: Tensor
    paths: Tensor


def scene() -> Scene:
    with VideoReader(SAMPLE, stop=SHOWN) as reader:
        original = torch.stack(list(reader))
    motion = estimate_motion(area_average(original, 2), size=SIZE, estimator="refined")
    scheme = make_scheme("gp", channels=1, size=SIZE)
    noise = [scheme.frame(0, next(positions_in_first(motion)))]
    for j, there in enumerate(positions_in_first(motion)):
        if j:
            noise.append(scheme.frame(j, there, motion.backward[j - 1], motion.known[j - 1]))
    return Scene(area_average(original, 4), torch.cat(noise), _paths(motion))


def _paths(motion: Motion) -> Tensor:
    """Where the points of the first frame are in every frame:   T_{0→j} = T_j ∘ T_{0→j−1}."""
    maps = [identity_map(*motion.size)]
    for forward in motion.forward:
        maps.append(compose(forward, maps[-1]))
    columns, rows = zip(*POINTS, strict=True)
    return torch.stack(maps)[:, list(rows), list(columns)]


def make(folder: Path) -> list[Path]:
    made = scene()
    return [figure(made, folder / "flow.webp"), film(made, folder / "flow-film.webp")]


def figure(made: Scene, path: Path) -> Path:
    card = Card(TOP + 2 * PANEL[1] + 60)
    for x, index, title in zip(COLUMNS, (0, LATE), ("frame 0", f"frame {LATE}"), strict=True):
        card.text((x + PANEL[0] / 2, 24), title, anchor="mm")
        card.picture((x, TOP), PANEL, shown(made.frames[index]), smooth=True)
        card.picture((x, TOP + PANEL[1] + 12), PANEL, tinted(made.noise[index]), smooth=False)
        for y in (TOP, TOP + PANEL[1] + 12):
            _mark(card, (x, y), made.paths[: index + 1])
    card.text((320, TOP + 2 * PANEL[1] + 34), "points of frame 0 along the flow", SMALL, SOFT, "mm")
    return write_figure(card, path)


def film(made: Scene, path: Path) -> Path:
    cards = []
    for j in range(SHOWN):
        card = Card(TOP + PANEL[1] + 20)
        for x, title in zip(COLUMNS, ("the clip", "its noise"), strict=True):
            card.text((x + PANEL[0] / 2, 24), title, anchor="mm")
        card.picture((COLUMNS[0], TOP), PANEL, shown(made.frames[j]), smooth=True)
        card.picture((COLUMNS[1], TOP), PANEL, tinted(made.noise[j]), smooth=False)
        for x in COLUMNS:
            _mark(card, (x, TOP), made.paths[: j + 1])
        cards.append(card)
    return write_film(cards, path, 140, quality=42)


def _mark(card: Card, corner: tuple[float, float], paths: Tensor) -> None:
    """The points where they are, and the way that they have come; those that have left are left out."""
    height, width = SIZE
    cell = PANEL[0] / width, PANEL[1] / height
    for point in range(paths.shape[1]):
        way = paths[:, point].tolist()
        trail = [(corner[0] + (x + 0.5) * cell[0], corner[1] + (y + 0.5) * cell[1]) for x, y in way]
        x, y = paths[-1, point].tolist()
        if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
            continue
        if len(trail) > 1:
            card.line(trail, INK, 1.5)
        card.dot(trail[-1], 4, "#ffffff", INK if len(trail) == 1 else ORANGE)
