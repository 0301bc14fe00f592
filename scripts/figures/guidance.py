"""The guidance: a still that turns, restored by the embedded network in three ways, and what becomes of one line."""

from pathlib import Path

from torch import Tensor

from scripts.figures.drawing import INK, LINE, ORANGE, SMALL, SOFT, Card, shown, write_figure, write_film
from warped_diffusion.evaluate.moved import MARGIN, SAMPLE, middle_clip
from warped_diffusion.flow import Motion
from warped_diffusion.metrics import warping_error
from warped_diffusion.restore import restore
from warped_diffusion.tasks import degrade
from warped_diffusion.video import VideoReader

SIZE, SCALE, FRAMES, STEPS = (80, 96), 4, 16, 12
CORNER = (44, 256)
"""Of the still in the sample's first frame: leaves, flowers and shade."""
WAYS = {
    "each frame alone": {"noise": "resample", "guidance": "none"},
    "warped noise": {"guidance": "none"},
    "and guidance": {},
}
PANEL = (146, 122)
COLUMNS = [16 + k * (PANEL[0] + 8) for k in range(4)]
TOP, LINES = 42, 64


def turn(frames: int, size: tuple[int, int]) -> Motion:
    """By one degree a frame, and 0.5 % smaller, as `bench steadiness` has it."""
    return Motion.analytic(frames, size, rotation=1.0, zoom=0.995)


def make(folder: Path) -> list[Path]:
    with VideoReader(SAMPLE, stop=1) as reader:
        (frame,) = list(reader)
    (top, left), (height, width) = CORNER, SIZE
    still = frame[:, top : top + height + 2 * MARGIN, left : left + width + 2 * MARGIN]
    truth = middle_clip(still, turn, FRAMES, SIZE)
    motion = turn(FRAMES, SIZE)
    low = degrade(truth, scale=SCALE)
    clips = {name: restore(low, scale=SCALE, steps=STEPS, motion=motion, **way) for name, way in WAYS.items()}  # type: ignore[arg-type]
    clips["the true clip"] = truth
    figure, film = folder / "guidance.webp", folder / "guidance-film.webp"
    write_figure(_card(clips, motion, FRAMES), figure)
    return [figure, write_film([_card(clips, motion, j) for j in range(1, FRAMES + 1)], film, 160, quality=45)]


def _card(clips: dict[str, Tensor], motion: Motion, until: int) -> Card:
    """The clips at their frame `until` - 1; below, their middle line in every frame so far, time downwards."""
    card = Card(TOP + PANEL[1] + 12 + LINES * 2 + 40)
    for x, (name, clip) in zip(COLUMNS, clips.items(), strict=True):
        card.text((x + PANEL[0] / 2, 22), name, SMALL + 1, ORANGE if name == "and guidance" else INK, "mm")
        card.picture((x, TOP), PANEL, shown(clip[until - 1]), smooth=True)
        middle = TOP + PANEL[1] / 2
        card.line([(x, middle), (x + PANEL[0], middle)], "#ffffff", 1)
        below, high = TOP + PANEL[1] + 12, LINES * 2
        card.box((x, below), (PANEL[0], high), None, LINE)
        lines = clip[:until, :, SIZE[0] // 2].movedim(0, 1)  # (3, until, W)
        card.picture((x, below), (PANEL[0], high * until / FRAMES), shown(lines), smooth=False)
        error = float(warping_error(clip, motion, "previous")) * 1e4
        card.text((x + PANEL[0] / 2, below + high + 20), f"error {error:.1f}", SMALL, SOFT, "mm")
    return card
