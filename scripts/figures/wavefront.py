"""The wavefront: which frame is at which step in which batch, as the sampler itself was seen to do it."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from scripts.figures.drawing import BLUE, GREEN, INK, LINE, ORANGE, PAPER, SMALL, SOFT, Card, write_figure, write_film
from warped_diffusion.diffusion import FrameInput, Links, get_solver, karras_sigmas, make_guidance, sample
from warped_diffusion.flow import Motion

FRAMES, STEPS = 8, 6
CELL = 30
Schedule = list[list[tuple[int, int]]]
"""For every call of the network, the (frame, step) pairs of its batch."""


def schedule(frames: int, steps: int, lanes: int) -> Schedule:
    """Sample a clip that does not move with a network that knows nothing, and note what it is asked."""
    side, calls = 8, Schedule()
    sigmas = karras_sigmas(steps, 0.01, 1.0)
    guidance = make_guidance("denoised")
    motion = Motion.analytic(frames, (side, side))
    links = Links(guidance, (side, side), torch.device("cpu"))

    def denoiser(noisy: Tensor, sigma: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        step = [int((sigmas - s).abs().argmin()) for s in sigma]
        calls.append(list(zip(condition["frame"].int().tolist(), step, strict=True)))
        return noisy * 0.5

    def inputs(j: int) -> FrameInput:
        moved = (motion.forward, motion.backward, motion.visible, motion.known)
        made = links.advance(None if j == 0 else [part[j - 1] for part in moved])
        told = {"frame": torch.tensor(float(j))}
        return FrameInput(torch.zeros(3, side, side), told, made, is_key=links.key_index == j)

    for _ in sample(denoiser, map(inputs, range(frames)), sigmas, get_solver("euler"), guidance, lanes):
        pass
    return calls


def make(folder: Path) -> list[Path]:
    """Both pictures, drawn from one frame at a time, three lanes and as many as there is work for."""
    ways = {"one lane": 1, "three lanes": 3, "eight lanes": FRAMES}
    calls = {name: schedule(FRAMES, STEPS, lanes) for name, lanes in ways.items()}
    figure, film = folder / "wavefront.webp", folder / "wavefront-film.webp"
    write_figure(_card(calls, None), figure)
    last = max(map(len, calls.values()))
    # The loop of one lane is cut short: after the others are done it only goes on.
    shown = min(last, len(calls["three lanes"]) + 2)
    return [figure, write_film([_card(calls, tick) for tick in range(1, shown + 1)], film, 350)]


def _card(calls: Mapping[str, Schedule], until: int | None) -> Card:
    """Every cell with the number of the call that makes it; with `until`, as it stands after so many calls."""
    card = Card(342)
    wide = STEPS * CELL
    gap = (640 - 40 - 3 * wide) / 2
    for k, (name, calls_of) in enumerate(calls.items()):
        left, top = 30 + k * (wide + gap), 60
        card.text((left + wide / 2, 22), name, anchor="mm")
        card.text((left + wide / 2, 44), "step", SMALL, SOFT, "mm")
        for frame in range(FRAMES):
            card.text((left - 6, top + frame * CELL + CELL / 2), str(frame), SMALL, SOFT, "rm")
        done = {cell: tick for tick, call in enumerate(calls_of, 1) for cell in call}
        for (frame, step), tick in done.items():
            now = until is not None and tick == until
            made = until is None or tick < until
            # In the figure calls that follow one another have colours of their own, in the film the one under way.
            fill = (BLUE, ORANGE, GREEN)[tick % 3] if until is None else ORANGE if now else BLUE if made else PAPER
            corner = (left + step * CELL + 1, top + frame * CELL + 1)
            card.box(corner, (CELL - 2, CELL - 2), fill, fill if now or made else LINE)
            if now or made:
                card.text((corner[0] + CELL / 2 - 1, corner[1] + CELL / 2 - 1), str(tick), 13, PAPER, "mm")
        count = len(calls_of) if until is None else min(until, len(calls_of))
        finished = count == len(calls_of)
        words = f"{count} calls" + (", done" if finished and until is not None else "")
        card.text((left + wide / 2, top + FRAMES * CELL + 20), words, SMALL, INK if finished else SOFT, "mm")
    card.text((16, 22), "frame", SMALL, SOFT, "lm")
    return card
