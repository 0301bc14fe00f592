"""The embedded network with its condition dropped: what it knows of pictures at large, for a task of any kind.

Super-resolution and inpainting learned with nothing known one time in several (`training.data`), which makes a model of
pictures of each of them. With `diffusion.Consistent` around it, that model restores what it was never trained for.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from warped_diffusion.diffusion.contract import Condition
from warped_diffusion.errors import UserError
from warped_diffusion.masks import FAR
from warped_diffusion.models import embedded
from warped_diffusion.models.conditioning import PRIOR
from warped_diffusion.models.embedded import EmbeddedDenoiser
from warped_diffusion.models.model import Model


def no_enlargement(like: Tensor) -> Condition:
    """Super-resolution's condition where nothing is known, for frames (B, 3, H, W)."""
    return {"picture": torch.zeros_like(like), "scale": torch.zeros_like(like[:, 0, 0, 0])}


def no_rim(like: Tensor) -> Condition:
    """Inpainting's: a hole that is the whole frame."""
    plane = like[:, :1]
    return {"picture": torch.zeros_like(like), "mask": torch.ones_like(plane), "depth": torch.full_like(plane, FAR)}


NOTHING_KNOWN: Mapping[str, Callable[[Tensor], Condition]] = {
    "super-resolution": no_enlargement,
    "inpainting": no_rim,
}
"""By the name of the task that the network was trained for."""


SOFTENED = 0.056
"""Deviation of what a Gaussian blur of 1 px takes from a picture, model units; it grows as the root of its width.

In the sample clip .034, .050, .069, .081, .099 and .111 at .7, 1, 1.5, 2, 3 and 4 px.
"""


def top(condition: Condition) -> float:
    """The highest noise level for a condition: above what was taken from its `picture`, if that is little and known."""
    if "blur" not in condition:
        return PRIOR * 6
    taken = SOFTENED * float(condition["blur"].max()) ** 0.5
    return min(PRIOR * 6, max(PRIOR / 20, 2.2 * taken))


def prior(denoiser: EmbeddedDenoiser) -> Model:
    """The model that takes nothing of a condition but `spectrum`. It starts from the condition's `picture`.

    Noise levels go from 1/100 to 6 times the deviation of pictures. Of 4, 5, 6 and 8 times, 6 is the lowest at which
    both spectra make half of the truth's high-frequency energy, .51 to .63 of it (21 pictures, one seed); from 60 times
    fills of holes were 1.7 to 3.1 dB farther from the truth than from 4 times (8 pictures). White noise is preferred:
    .63 against .51 at 4x, as near to the truth. A blurred picture is near the truth as it is: sampling begins at 2.2
    times what the blur took.

    Raises: UserError if the network never learned to do without its condition.
    """
    if denoiser.task not in NOTHING_KNOWN:
        raise UserError(
            f"a network for {denoiser.task} always saw its input and is no model of pictures without it: "
            f"give one for {' or '.join(NOTHING_KNOWN)}"
        )

    def denoise(noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        nothing = NOTHING_KNOWN[denoiser.task](noisy)
        denoised: Tensor = denoiser(noisy, sigma, {**nothing, "spectrum": condition["spectrum"]})
        return denoised

    return Model(
        denoise,
        embedded.SPECTRA,
        lambda condition: (PRIOR / 100, top(condition)),
        lambda condition: condition["picture"],
        tile=embedded.TILE,
        sees_input=False,
    )
