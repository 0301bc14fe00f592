"""Measures of a clip along its motion: warping error, and what a frame shows that the first one did not."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.flow.maps import compose, frame_weight, identity_map
from warped_diffusion.flow.motion import Motion, carry
from warped_diffusion.metrics.spline import sample_spline

# Along a chain of frames the smallest visibility holds: a product would wear feathered edges away with every frame.
# A pixel counts where every link saw it fully; what is below 1 by more than rounding is a feathered edge.
FULLY_VISIBLE = 0.999
# Less than half seen is newly exposed: the middle of a feathered edge, where its unfeathered outline was.
HALF_KNOWN = 0.5


class _Link(NamedTuple):
    """Where a frame is compared: T_{reference→j} (H, W, 2) and its visibility (H, W), on the reference's grid."""

    reference: int
    forward: Tensor
    visible: Tensor


def warping_error(
    frames: Tensor,
    motion: Motion,
    reference: Literal["first", "previous"] = "first",
    per_frame: bool = False,
) -> Tensor:
    r"""Mean squared difference between a frame, taken back along the motion, and an earlier frame.   [paper, sec. 5]

    e_j = mean |x_j(T_{r→j}(p)) − x_r(p)|² over the channels and over the pixels p of frame r that are seen in every
    frame from r to j. Frame j is read by a quintic spline, frame r as it is. With "first", r is the first frame of j's
    shot and T_{r→j} = T_j ∘ … ∘ T_{r+1}; with "previous", r = j−1.

    Args:
        frames: (N, C, H, W) in [0, 1].
        motion: of these frames, on their grid.
        per_frame: one number per frame instead of their mean.
    Returns: float64, squared units of the frames. Per frame (N−1,), entry j−1 for frame j, nan where there is nothing
        to compare (the first frame of a shot, nothing still in sight); otherwise (), the mean of the others.
    Raises: ShapeError if motion and frames differ in number or grid; UserError for another reference.
    """
    if reference not in ("first", "previous"):
        raise UserError(f'reference is {reference!r}: give "first" or "previous"')
    _require_match(frames, motion)
    errors = torch.full((len(frames) - 1,), torch.nan, dtype=torch.float64)
    links = _links_to_first(motion) if reference == "first" else _links_to_previous(motion)
    for j, link in links:
        seen = (link.visible > FULLY_VISIBLE).cpu()
        returned = sample_spline(frames[j], link.forward[seen.to(link.forward.device)])
        original = frames[link.reference].double().cpu()[:, seen]
        errors[j - 1] = (returned - original).square().mean()
    return errors if per_frame else errors.nanmean()


def newly_exposed(motion: Motion, j: int) -> Tensor:
    """The pixels of frame j that the first frame of its shot did not show: they entered, or were uncovered, since.

    A pixel of frame j was shown if following it back, frame by frame, through `backward` it was known all the way.

    Returns: (H, W) boolean, on frame j's grid.
    Raises: UserError if there is no such frame.
    """
    if not 0 <= j < motion.frames:
        raise UserError(f"frame is {j}, the clip has {motion.frames}: give 0 to {motion.frames - 1}")
    start = max((cut for cut in motion.cuts if cut <= j), default=0)
    known = motion.backward.new_ones(motion.size)
    for i in range(start + 1, j + 1):
        known = torch.minimum(motion.known[i - 1], carry(known, motion.backward[i - 1]))
    return known < HALF_KNOWN


def _links_to_previous(motion: Motion) -> Iterator[tuple[int, _Link]]:
    for j in range(1, motion.frames):
        if j not in motion.cuts:
            forward = motion.forward[j - 1]
            yield j, _Link(j - 1, forward, torch.minimum(motion.visible[j - 1], frame_weight(forward, motion.size)))


def _links_to_first(motion: Motion) -> Iterator[tuple[int, _Link]]:
    link = None
    for j in range(1, motion.frames):
        if j in motion.cuts:
            link = None
            continue
        if link is None:
            here = identity_map(*motion.size, device=motion.forward.device, dtype=motion.forward.dtype)
            link = _Link(j - 1, here, torch.ones_like(here[..., 0]))
        # The next frame sees a pixel where it has got to: its visibility is read at T_{r→j−1}.
        visible = torch.minimum(link.visible, carry(motion.visible[j - 1], link.forward))
        forward = compose(motion.forward[j - 1], link.forward)
        link = _Link(link.reference, forward, torch.minimum(visible, frame_weight(forward, motion.size)))
        yield j, link


def _require_match(frames: Tensor, motion: Motion) -> None:
    if frames.ndim != 4 or len(frames) < 1:
        raise ShapeError(f"frames are {tuple(frames.shape)}: give (N, C, H, W), the frames of a clip")
    expected = (len(frames) - 1, *frames.shape[-2:], 2)
    if tuple(motion.forward.shape) != expected:
        raise ShapeError(
            f"motion.forward is {tuple(motion.forward.shape)}, frames {tuple(frames.shape)} need {expected}: "
            "estimate the motion of these frames, or bring it to their grid with motion.resize"
        )
