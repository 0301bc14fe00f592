"""The one contract that every image model fulfils, and what it is conditioned on."""

from collections.abc import Mapping
from typing import Protocol, TypeAlias

from torch import Tensor

Condition: TypeAlias = Mapping[str, Tensor]
"""What a model knows beside the noisy image, by name. Every tensor has the batch as its leading dimension."""


class Denoiser(Protocol):
    r"""An estimate of the clean image in a noisy one: h(u, s, c) ~ E[u_0 | u],  u = u_0 + s n.      [paper, sec. 3.2]

    Variance-exploding coordinates, model units ([-1, 1]). The noise n has unit variance but need not be white: by the
    generalised formula of Tweedie the same estimate drives the sampler whatever the covariance [paper, App. 8.2].
    Items of a batch do not see one another: a batch of four equals four batches of one.
    """

    def __call__(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Denoise a batch.

        Args:
            noisy: (B, C, H, W) noisy images.
            sigma: (B,) standard deviation of each item's noise.
            condition: tensors (B, ...); an empty mapping for an unconditional model.
        Returns: (B, C, H, W) denoised images.
        """
        ...
