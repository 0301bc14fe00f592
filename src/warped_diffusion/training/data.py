"""Crops of packed photographs, degraded as the task degrades: everything follows from the seed and the step."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.masks import random_masks
from warped_diffusion.noise import SPECTRA, grid_noise
from warped_diffusion.tasks import CleanUp, Inpainting, SuperResolution, area_average
from warped_diffusion.training.config import TrainConfig

REDUCTIONS, REDUCTION_SHARES = (1, 2, 3), (0.35, 0.4, 0.25)
"""Pictures are used at full size, a half and a third: reduced photographs are as sharp as a video frame is."""

FLAT = 0.012
"""Crops whose standard deviation stays below this (sky, walls) are passed over nine times out of ten."""


class PackedPictures:
    """The pictures of one split, read from the packed file as they are needed.

    Raises: UserError if the folder does not hold packed pictures.
    """

    def __init__(self, folder: str | Path, split: str) -> None:
        index, data = Path(folder) / "pictures.json", Path(folder) / "pictures.bin"
        if not index.is_file() or not data.is_file():
            raise UserError(f"no packed pictures in {folder}: make them with scripts/pack_pictures.py")
        self.entries = [entry for entry in json.loads(index.read_text()) if entry["split"] == split]
        self.data = np.memmap(data, np.uint8, "r")
        if not self.entries:
            raise UserError(f"{folder} holds no picture of the split {split!r}")
        areas = np.array([np.prod(entry["size"]) for entry in self.entries], float)
        self.shares = np.sqrt(areas) / np.sqrt(areas).sum()

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, number: int) -> np.ndarray:
        """(height, width, 3) uint8."""
        entry = self.entries[number]
        height, width = entry["size"]
        return self.data[entry["offset"] : entry["offset"] + height * width * 3].reshape(height, width, 3)

    def crop(self, side: int, generator: np.random.Generator) -> Tensor:
        """(3, side, side) in [0, 1]: a random place, reduction and orientation; rarely a flat one."""
        while True:
            picture = self[generator.choice(len(self), p=self.shares)]
            reduction = int(generator.choice(REDUCTIONS, p=REDUCTION_SHARES))
            reduction = min(reduction, min(picture.shape[:2]) // side)
            if not reduction:
                raise UserError(f"a picture of {picture.shape[1]}x{picture.shape[0]} is too small for crops of {side}")
            top, left = (int(generator.integers(n - side * reduction + 1)) for n in picture.shape[:2])
            values = picture[top : top + side * reduction, left : left + side * reduction]
            values = np.rot90(values, int(generator.integers(4)))
            values = values[:, ::-1] if generator.random() < 0.5 else values
            crop = torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1).float() / 255
            crop = area_average(crop, reduction)
            if crop.std() > FLAT or generator.random() < 0.1:
                return crop


@dataclass(frozen=True)
class Batch:
    """clean (B, 3, H, W) in [-1, 1], the condition, sigma relative to the task's unit (B,), unit noise (B, 3, H, W)."""

    clean: Tensor
    condition: Mapping[str, Tensor]
    relative_sigma: Tensor
    noise: Tensor


def make_batch(pictures: PackedPictures, config: TrainConfig, step: int) -> Batch:
    """The batch of one step; the same for the same (config.seed, step)."""
    generator = np.random.default_rng([config.seed, step])
    noise_generator = torch.Generator().manual_seed(int(generator.integers(2**62)))
    groups = [_group(pictures, config, generator, noise_generator) for _ in range(config.batch // config.group)]
    names = groups[0].condition
    return Batch(
        torch.cat([g.clean for g in groups]),
        {name: torch.cat([g.condition[name] for g in groups]) for name in names},
        torch.cat([g.relative_sigma for g in groups]),
        torch.cat([g.noise for g in groups]),
    )


def _group(
    pictures: PackedPictures, config: TrainConfig, generator: np.random.Generator, noise_generator: torch.Generator
) -> Batch:
    """`config.group` crops with the task's condition; each draws its spectrum and noise level by itself."""
    count = config.group
    clean, condition = PAIRS[config.task](pictures, config, generator)
    chosen = generator.integers(len(config.spectra), size=count)
    index = torch.tensor([list(SPECTRA).index(name) for name in config.spectra])
    condition["spectrum"] = index[torch.from_numpy(chosen)]
    shape = (count, 3, config.crop, config.crop)
    drawn = torch.stack([grid_noise(name, shape, noise_generator) for name in config.spectra])
    level = torch.from_numpy(generator.normal(config.level_mean, config.level_spread, count)).clamp(*config.level_range)
    return Batch(clean, condition, level.exp().float(), drawn[torch.from_numpy(chosen), torch.arange(count)])


Pairs = Callable[[PackedPictures, TrainConfig, np.random.Generator], tuple[Tensor, dict[str, Tensor]]]
"""Clean crops (group, 3, crop, crop) in [-1, 1] and the task's condition of what it makes of them."""


def _reduced(
    pictures: PackedPictures, config: TrainConfig, generator: np.random.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Super-resolution, all crops by one factor; the condition of each is dropped at times."""
    shares = np.array(config.scale_shares) / sum(config.scale_shares)
    task = SuperResolution(int(generator.choice(config.scales, p=shares)))
    side, count = -(-config.crop // task.scale) * task.scale, config.group
    crops = torch.stack([pictures.crop(side, generator) for _ in range(count)])
    condition = dict(task.condition(task.degrade_roughly(crops, generator)))
    dropped = torch.from_numpy(generator.random(count) < config.drop)
    condition["picture"] = condition["picture"][..., : config.crop, : config.crop] * ~dropped[:, None, None, None]
    condition["scale"] = condition["scale"] * ~dropped
    return crops[..., : config.crop, : config.crop] * 2 - 1, condition


def _holed(
    pictures: PackedPictures, config: TrainConfig, generator: np.random.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Inpainting, a random hole in every crop; where it is the whole frame nothing is known, so no more is dropped."""
    crops = torch.stack([pictures.crop(config.crop, generator) for _ in range(config.group)])
    masks = random_masks(config.group, (config.crop, config.crop), generator, whole=config.drop)
    return crops * 2 - 1, dict(Inpainting().condition(crops, masks))


def _cleaned(
    pictures: PackedPictures, config: TrainConfig, generator: np.random.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Clean-up: every crop spoilt in its own way. The input is always there; nothing is dropped."""
    crops = torch.stack([pictures.crop(config.crop, generator) for _ in range(config.group)])
    task = CleanUp()
    return crops * 2 - 1, dict(task.condition(task.degrade_roughly(crops, generator)))


PAIRS: Mapping[str, Pairs] = {"super-resolution": _reduced, "inpainting": _holed, "clean-up": _cleaned}
"""By the name of the task."""
