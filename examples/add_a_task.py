"""A task of your own: every third line of the picture was lost. One class and one line; no network is trained for it.

python examples/add_a_task.py
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

import warped_diffusion as wd
from warped_diffusion.diffusion import Mask
from warped_diffusion.metrics import psnr
from warped_diffusion.models import load_model
from warped_diffusion.tasks import TASKS
from warped_diffusion.video import VideoReader


@dataclass(frozen=True)
class LostLines:
    """What happened to a frame, and what a model is told of it; `tasks.Task` explains each part."""

    name: ClassVar[str] = "lost-lines"
    takes_mask: ClassVar[bool] = False
    detail: ClassVar[float] = 0.7  # between 0, the mean of what fits, and 1, a sample of it
    noise: ClassVar[float] = 0.0

    def degrade(self, pictures: Tensor, mask: Tensor | None = None) -> Tensor:
        return pictures * self._known(pictures)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size

    def condition(self, pictures: Tensor, mask: Tensor | None = None) -> Mapping[str, Tensor]:
        known = self._known(pictures)
        filled = F.avg_pool2d(pictures * known, (3, 1), 1, (1, 0)) / F.avg_pool2d(known, (3, 1), 1, (1, 0))
        return {"picture": torch.where(known > 0, pictures, filled) * 2 - 1, "known": known}

    def agree(self, estimates: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        return torch.where(condition["known"] > 0, condition["picture"], estimates)

    def operator(self, condition: Mapping[str, Tensor]) -> Mask:
        return Mask(condition["known"])  # the linear map that data consistency asks for

    def _known(self, pictures: Tensor) -> Tensor:
        rows = torch.arange(pictures.shape[-2], device=pictures.device)[:, None] % 3 != 1
        return rows.to(pictures).expand(*pictures.shape[:-3], 1, *pictures.shape[-2:])


TASKS["lost-lines"] = LostLines


def main() -> None:
    with VideoReader(Path(wd.__file__).parent / "assets" / "sample.mp4", stop=3) as reader:
        clip = torch.stack(list(reader))
    lost = wd.degrade(clip, task="lost-lines")
    prior = load_model("embedded-prior", "lost-lines", torch.device("cpu"))
    model = replace(prior, sigma_range=lambda condition: (0.005, 0.2))  # little is missing, so little noise does
    restored = wd.restore(lost, task="lost-lines", model=model, steps=8)
    print(f"PSNR {psnr(lost, clip).mean():.1f} dB as it came, {psnr(restored, clip).mean():.1f} dB restored")


if __name__ == "__main__":
    main()
