r"""How the sampler is steered towards agreement with its own earlier frames.

A guidance looks at a frame's estimate h and at those of its anchors, earlier frames at the same step, and answers with
a correction in the space of h. How it acts is the guidance's kind:

    in denoised space    h <- h - correction, before the solver's step, and the corrected h is what later frames see
    through the network  u_next <- u_next - (dh/du)^T correction, after the solver's step
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from warped_diffusion.diffusion.link import Link
from warped_diffusion.errors import UserError


class Anchor(NamedTuple):
    """A link that acts, and the rates at which it pulls and blends: numbers, or (H, W) on the frame's grid."""

    link: Link
    rate: Tensor | float
    blend: Tensor | None = None


class Guidance(Protocol):
    """What the wavefront, and whoever makes a frame's links, asks of a guidance."""

    @property
    def anchors(self) -> Mapping[str, float]:
        """The earlier frames that a frame is to be linked to, "previous" and "key", and the weight of each link."""
        ...

    @property
    def kernel(self) -> str:
        """The interpolation kernel of the links' warps."""
        ...

    @property
    def strength(self) -> float:
        """A multiple of the mode's calibrated default; at 0 nothing is compared and nothing changed."""
        ...

    @property
    def through_network(self) -> bool:
        """Whether the correction goes back through the denoiser to the step's input."""
        ...

    def prepare(self, frame: int, links: Sequence[Link], solver: str) -> tuple[Anchor, ...]:
        """The links of a frame that act, with all that does not depend on the estimates, once per frame."""
        ...

    def correction(self, denoised: Tensor, anchors: Sequence[Anchor], references: Sequence[Tensor]) -> Tensor:
        """The correction (C, H, W) of one frame's estimate; `references` are the anchors' estimates at this step."""
        ...


@dataclass(frozen=True)
class NoGuidance:
    """Every frame on its own. It has nothing for a strength to multiply."""

    strength: ClassVar[float] = 0.0
    anchors: ClassVar[Mapping[str, float]] = {}
    kernel: ClassVar[str] = "nearest"
    through_network: ClassVar[bool] = False

    def prepare(self, frame: int, links: Sequence[Link], solver: str) -> tuple[Anchor, ...]:
        return ()

    def correction(self, denoised: Tensor, anchors: Sequence[Anchor], references: Sequence[Tensor]) -> Tensor:
        return torch.zeros_like(denoised)


@dataclass(frozen=True)
class NetworkGuidance:
    r"""The paper's self-guidance, a gradient through the network towards the previous frame.         [paper, alg. 1]

        u_next <- u_next - (lambda / sqrt(e)) grad_u e(u),    e(u) = sum M |A h(u) - h_prev|^2

    with h_prev held fixed, e summed over the frame, and nothing done where e = 0 (a static clip).

    Attributes:
        strength: lambda; the paper found 1 best.
        variant: "literal" as printed. The printed step changes each element by O(N^-1/2), N elements in the frame, and
            so fades as frames grow: "calibrated" multiplies it by sqrt(N / 65 536), 1 at the paper's 128 x 128 x 4.
        kernel: of the composition A; the paper's is "bilinear", which over-sharpens.
    """

    strength: float = 1.0
    variant: Literal["literal", "calibrated"] = "calibrated"
    kernel: str = "lanczos3"

    anchors: ClassVar[Mapping[str, float]] = {"previous": 1.0}

    through_network: ClassVar[bool] = True
    paper_elements: ClassVar[int] = 128 * 128 * 4

    def __post_init__(self) -> None:
        _check_strength(self.strength)
        if self.variant not in ("literal", "calibrated"):
            raise UserError(f"the variant of network guidance is 'literal' or 'calibrated', got {self.variant!r}")

    def prepare(self, frame: int, links: Sequence[Link], solver: str) -> tuple[Anchor, ...]:
        """The link to the previous frame, if there is one; its weight plays no part."""
        if self.strength == 0:
            return ()
        return tuple(Anchor(link, self.strength) for link in _once(links) if link.reference == frame - 1)

    def correction(self, denoised: Tensor, anchors: Sequence[Anchor], references: Sequence[Tensor]) -> Tensor:
        r"""(lambda / sqrt(e)) de/dh, which the chain rule takes on to u."""
        ((link, lam, _),) = anchors
        residual = link.residual(denoised, references[0])
        e = link.error(residual)
        scale = torch.where(e > 0, lam / e.sqrt(), 0)
        if self.variant == "calibrated":
            # Those that e sums over; a tensor stays one, as for a number of it a GPU would have to be waited for.
            pixels = denoised[0].numel() if link.free is None else link.free.sum()
            scale = scale * (pixels * len(denoised) / self.paper_elements) ** 0.5
        return scale * 2 * link.pull(residual)


@dataclass(frozen=True)
class DenoisedGuidance:
    r"""A correction of the estimate itself, towards the current key frame and the previous one.

        h <- h - step sum_a w_a [ p_a A_a^T M_a (A_a h - h_a) / max(1, A_a^T M_a 1)
                                  + (1 - p_a) k_a (h - A_a^T M_a h_a / A_a^T M_a 1) ]

    No gradient through the network is needed. The first term compares on the anchor's grid, where the anchor is sharp
    and h interpolated: it sharpens. The second compares on the frame's own grid, where it is the other way round, with
    k the pixels that the anchor shows: it blurs. The heaviest anchor (the key frame) acts by the first alone (p = 1),
    the previous frame, from which errors would add up from frame to frame, by both in halves (p = 1/2).

    Where an anchor is the truth (`Link.sure`, s in [0, 1]) it is not weighed against the estimate but replaces it: both
    rates fade by 1 - s, as do those of lighter anchors, and s is added to that of the second term. In holes the step is
    `in_holes` times as long.

    Attributes:
        strength: a multiple of the step of `steps`.
        anchors: the frames to compare with, and their weights.
        kernel: of the composition A; "bilinear" blurs, and so pushes each frame to be sharper than the last.
    """

    strength: float = 1.0
    anchors: Mapping[str, float] = field(default_factory=lambda: {"key": 1.0, "previous": 0.5})
    kernel: str = "lanczos3"

    through_network: ClassVar[bool] = False
    # A multistep solver extrapolates from the previous, corrected estimate, and so amplifies a fresh correction, by
    # 1 + 1/(2r) or about 1.5: its step is smaller by as much.
    steps: ClassVar[dict[str, float]] = {"euler": 0.36, "dpmpp-2m": 0.36 / 1.5}
    # What is made up in a hole has no input that it could contradict: 0.81 of the gap is closed there at each step, not
    # 0.54, so what the last steps put in does not stay (error to the first frame 6e-8 under whole pixels, not 3e-6).
    in_holes: ClassVar[float] = 1.5

    def __post_init__(self) -> None:
        _check_strength(self.strength)

    def prepare(self, frame: int, links: Sequence[Link], solver: str) -> tuple[Anchor, ...]:
        """Every link, with step, weight and gain in one rate per pixel."""
        if self.strength == 0:
            return ()
        if solver not in self.steps:
            raise UserError(
                f"denoised guidance has no calibrated step for the solver {solver!r}: "
                f"use one of {', '.join(self.steps)}, or add its step to DenoisedGuidance.steps"
            )
        step = self.strength * self.steps[solver]
        anchors = []
        left: Tensor | float = 1.0  # what anchors that know better have left to the others
        for place, link in enumerate(_once(links)):
            rate = step * link.weight * (1.0 if link.free is None else self.in_holes)
            anchor = Anchor(link, rate / link.gain)
            if place > 0:
                anchor = Anchor(link, rate / 2 / link.gain, rate / 2 * link.shown)
            if link.sure is not None:
                anchor = _believe(anchor, link.sure * min(1.0, self.strength))
            anchors.append(Anchor(link, left * anchor.rate, None if anchor.blend is None else left * anchor.blend))
            left = left if link.sure is None else left * (1 - link.sure * min(1.0, self.strength))
        return tuple(anchors)

    def correction(self, denoised: Tensor, anchors: Sequence[Anchor], references: Sequence[Tensor]) -> Tensor:
        total = torch.zeros_like(denoised)
        for (link, rate, blend), reference in zip(anchors, references, strict=True):
            residual = link.residual(denoised, reference)
            if blend is None:
                total += rate * link.pull(residual)
            else:
                pull, brought = link.pulled_and_brought(residual, reference)
                total += rate * pull + blend * (denoised - brought)
        return total


GUIDANCE: dict[str, Callable[..., Guidance]] = {
    "none": NoGuidance,
    "network": NetworkGuidance,
    "denoised": DenoisedGuidance,
}


def make_guidance(name: str, strength: float = 1.0) -> Guidance:
    """The guidance of that name. Raises UserError for an unknown name or a strength that is not a number from 0 up."""
    if name not in GUIDANCE:
        raise UserError(f"no guidance is called {name!r}: choose one of {', '.join(GUIDANCE)}")
    _check_strength(strength)
    return NoGuidance() if name == "none" else GUIDANCE[name](strength=strength)


def _check_strength(strength: float) -> None:
    if not (isfinite(strength) and strength >= 0):
        raise UserError(f"the strength of guidance must be a number from 0 up, got {strength}: 1 is the default")


def _believe(anchor: Anchor, sure: Tensor) -> Anchor:
    """The anchor, its reference taken for the frame's own estimate as far as it is sure."""
    blend = sure if anchor.blend is None else sure + anchor.blend * (1 - sure)
    return Anchor(anchor.link, anchor.rate * (1 - sure), blend)


def _once(links: Sequence[Link]) -> tuple[Link, ...]:
    """Each reference by its heaviest link, heaviest first: a key frame that is also the previous frame acts once."""
    heaviest: dict[int, Link] = {}
    for link in sorted(links, key=lambda link: -link.weight):
        heaviest.setdefault(link.reference, link)
    return tuple(heaviest.values())
