"""Training samples: pieces of pictures, degraded as the task degrades, all by the seed and the sample's number.

Each sample has a generator of its own, so neither the batch that it is in nor the number of processes changes it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.masks import random_mask
from warped_diffusion.noise import SPECTRA, grid_noise
from warped_diffusion.tasks import CleanUp, Inpainting, SuperResolution
from warped_diffusion.training.config import TrainConfig
from warped_diffusion.training.pictures import Pictures, crop, framed

Batch = dict[str, Any]
"""What a batch holds, B samples; the task's condition lies flat among the rest:

clean (B, 3, H, W) in [-1, 1]; relative_sigma (B,), noise levels in the task's unit; noise_seed (B,) int64, see
`draw_noise`; the condition, `CONDITION`: spectrum (B,) int64, an index into SPECTRA, and what the task tells, picture
(B, 3, H, W) in [-1, 1], scale (B,), mask and depth (B, 1, H, W); caption, B strings; bad, "NAME: why" of pictures that
could not be used and were met for the first time in this process.
"""

CONDITION = ("picture", "scale", "mask", "depth", "spectrum")

ATTEMPTS = 300
"""Pictures tried for a crop; of nothing but flat ones, nine in ten are passed over, 300 in a row once in 10^13."""


def condition_of(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """What the network is told: the fields of a batch in `CONDITION`."""
    return {name: batch[name] for name in CONDITION if name in batch}


def spectra_of(batch: Mapping[str, Any]) -> list[str]:
    """The names of the spectra of a batch's noise."""
    return [list(SPECTRA)[index] for index in batch["spectrum"].tolist()]


def draw_noise(batch: Mapping[str, Any], shape: Sequence[int], device: torch.device | str | None = None) -> Tensor:
    """The noise of a batch's samples, (B, C, H, W), each of its spectrum and from its seed: one FFT on `device`.

    The white values are drawn on the CPU, so that a sample's noise is the same in any batch and, but for the FFT's
    rounding, on any device.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in batch["noise_seed"].tolist()]
    return grid_noise(spectra_of(batch), shape, generators, device)


class Samples:
    """The samples of a run.

    Args:
        pictures: of one split.
        config: of the run; its `steps` and `batch` have no part in what a sample is.
    Raises: UserError for a task that models of that kind are not trained for, or several scales of a pretrained one.
    """

    def __init__(self, pictures: Pictures, config: TrainConfig) -> None:
        pairs = (PAIRS if config.model == "embedded" else PRETRAINED_PAIRS).get(config.task)
        if pairs is None:
            raise UserError(f"a pretrained model is trained for {' or '.join(PRETRAINED_PAIRS)}, not for {config.task}")
        if pairs is _enlarged and len(config.scales) != 1:
            raise UserError(f"a pretrained model enlarges by one factor, scales are {list(config.scales)}: give one")
        self.pictures, self.config, self.pairs = pictures, config, pairs
        self._unread, self._small = 0, set[str]()  # of those, how many and which were reported

    def samples(self, indices: Iterable[int]) -> Batch:
        """Any samples by their numbers, as a batch."""
        config, known = self.config, torch.tensor([list(SPECTRA).index(name) for name in self.config.spectra])
        draws = [Draw(self.pictures, index, np.random.default_rng([config.seed, index])) for index in indices]
        chosen = [int(draw.generator.integers(len(known))) for draw in draws]
        level = [draw.generator.normal(config.level_mean, config.level_spread) for draw in draws]
        seeds = [int(draw.generator.integers(2**62)) for draw in draws]
        clean, condition = self.pairs(draws, config)
        return {
            "clean": clean,
            **condition,
            "spectrum": known[chosen],
            "relative_sigma": torch.tensor(level).clamp(*config.level_range).exp().float(),
            "noise_seed": torch.tensor(seeds),
            "caption": [draw.caption for draw in draws],
            "bad": self._report(draws),
        }

    def _report(self, draws: Iterable["Draw"]) -> list[str]:
        unread = [f"{name}: {why}" for name, why in islice(self.pictures.bad.items(), self._unread, None)]
        small = {line for draw in draws for line in draw.passed_over} - self._small
        self._unread += len(unread)
        self._small |= small
        return unread + sorted(small)


@dataclass
class Draw:
    """What one sample is made of: its picture, and all its other choices from `generator`."""

    pictures: Pictures
    index: int
    generator: np.random.Generator
    caption: str = ""
    passed_over: list[str] = field(default_factory=list)

    def crop(self, side: int, cut: "Cut" = crop) -> Tensor:
        """(3, side, side) in [0, 1], of the first picture that gives one.   Raises: UserError if none does."""
        for attempt in range(ATTEMPTS):
            picture = self.pictures.draw(self.index + attempt, self.generator)
            height, width = picture.values.shape[:2]
            if min(height, width) < side:
                self.passed_over.append(f"{picture.name}: too small, {width}x{height} for crops of {side}")
            elif (piece := cut(picture.values, side, self.generator)) is not None:
                self.caption = picture.caption
                return piece
        raise UserError(
            f"{ATTEMPTS} pictures in a row gave no crop of {side}x{side} (the last is {width}x{height}): "
            "give larger pictures or a smaller crop"
        )


Cut = Callable[[np.ndarray, int, np.random.Generator], Tensor | None]
"""A piece of (H, W, 3) uint8: (3, side, side) in [0, 1], None if another picture shall be drawn."""

Pairs = Callable[[Sequence[Draw], TrainConfig], tuple[Tensor, dict[str, Tensor]]]
"""Clean crops (B, 3, crop, crop) in [-1, 1] and the task's condition of what it makes of them."""


def _reduced(draws: Sequence[Draw], config: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """Super-resolution, each crop by a factor of its own; the condition of each is dropped at times."""
    shares = np.array(config.scale_shares) / sum(config.scale_shares)
    pairs = []
    for draw in draws:
        task = SuperResolution(int(draw.generator.choice(config.scales, p=shares)))
        whole = draw.crop(_filled(config.crop, task.scale))[None]
        condition = task.condition(task.degrade_roughly(whole, draw.generator))
        kept = float(draw.generator.random() >= config.drop)
        picture = condition["picture"][..., : config.crop, : config.crop]
        pairs.append((whole[..., : config.crop, : config.crop], picture * kept, condition["scale"] * kept))
    clean, picture, scale = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return clean * 2 - 1, {"picture": picture, "scale": scale}


def _filled(side: int, scale: int) -> int:
    """The side of a crop that whole pixels of the input cover."""
    return -(-side // scale) * scale


def _holed(draws: Sequence[Draw], config: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """Inpainting, a random hole in every crop; where it is the whole frame nothing is known, so no more is dropped."""
    crops = torch.stack([draw.crop(config.crop) for draw in draws])
    size = (config.crop, config.crop)
    masks = torch.stack([random_mask(size, draw.generator, whole=config.drop) for draw in draws])
    return crops * 2 - 1, dict(Inpainting().condition(crops, masks))


def _cleaned(draws: Sequence[Draw], config: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """Clean-up: every crop spoilt in its own way. The input is always there; nothing is dropped."""
    task, crops = CleanUp(), torch.stack([draw.crop(config.crop) for draw in draws])
    spoilt = [task.degrade_roughly(one[None], draw.generator) for one, draw in zip(crops, draws, strict=True)]
    return crops * 2 - 1, dict(task.condition(torch.cat(spoilt)))


PAIRS: Mapping[str, Pairs] = {"super-resolution": _reduced, "inpainting": _holed, "clean-up": _cleaned}
"""By the name of the task."""


def _enlarged(draws: Sequence[Draw], config: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """Super-resolution of a pretrained model: one factor, the whole of the picture as far as a square shows it."""
    (scale,), size = config.scales, config.crop
    task, whole = SuperResolution(scale), [draw.crop(_filled(size, scale), framed)[None] for draw in draws]
    small = [
        task.degrade_roughly(one, draw.generator) if config.rough else task.degrade(one)
        for one, draw in zip(whole, draws, strict=True)
    ]
    condition = task.condition(torch.cat(small))
    picture = condition["picture"][..., :size, :size]
    return torch.cat(whole)[..., :size, :size] * 2 - 1, {"picture": picture, "scale": condition["scale"]}


def _masked(draws: Sequence[Draw], config: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """Inpainting of a pretrained model, which sees mid grey in the holes: nothing smooth is put there."""
    size = (config.crop, config.crop)
    clean = torch.stack([draw.crop(config.crop, framed) for draw in draws]) * 2 - 1
    mask = torch.stack([random_mask(size, draw.generator, whole=config.drop) for draw in draws])
    return clean, {"picture": clean * (1 - mask), "mask": mask}


PRETRAINED_PAIRS: Mapping[str, Pairs] = {"super-resolution": _enlarged, "inpainting": _masked}
"""By the name of the task."""
