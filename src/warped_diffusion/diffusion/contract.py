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


class Codec(Protocol):
    """Pictures to latents and back, for models that do not work on pixels. Both ways are the same every time."""

    @property
    def factor(self) -> int:
        """Pixels per latent cell along an axis."""
        ...

    @property
    def channels(self) -> int:
        """Of the latents."""
        ...

    def encode(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], sides multiples of `factor` -> (B, channels, H / factor, W / factor)."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, 3, h factor, w factor) in [-1, 1]."""
        ...
