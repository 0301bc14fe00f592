r"""The sampler: frames x steps swept diagonally, all frames that can move in one batch.

Step i of a frame needs step i of the frames that it is guided by and nothing later, so frame j + 1 follows one step
behind frame j. n frames of m steps take n + m - 1 batched evaluations with `lanes` >= min(n, m), about
ceil(n / lanes) m with fewer, and n m with one lane, which is the loop that the paper prints [paper, alg. 1]. The result
is the same, to rounding.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from warped_diffusion.diffusion.contract import Denoiser
from warped_diffusion.diffusion.guidance import Anchor, Guidance
from warped_diffusion.diffusion.link import Link
from warped_diffusion.diffusion.solvers import History, Solver
from warped_diffusion.errors import ShapeError, UserError


@dataclass(frozen=True, eq=False)
class FrameInput:
    """All that is known of a frame before it is sampled.

    Attributes:
        noise: (C, H, W), on the device that samples; of unit variance, less for frames smoother than a sample.
        condition: the denoiser's condition, tensors without a batch dimension.
        links: the frame's ties to the previous frame and to the current key frame. None for the first frame of a shot.
        start: (C, H, W) where the state starts under its noise, u = start + sigma_max noise; 0 if None.
        is_key: whether this is a key frame, to which later frames may link until they themselves come after another.
    """

    noise: Tensor
    condition: Mapping[str, Tensor] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    start: Tensor | None = None
    is_key: bool = False


def sample(
    denoiser: Denoiser,
    frames: Iterable[FrameInput],
    sigmas: Tensor | Sequence[float],
    solver: Solver,
    guidance: Guidance,
    lanes: int = 1,
) -> Iterator[Tensor]:
    """Sample a clip as a stream.

    Args:
        denoiser: the image model.
        frames: in order; the next one is asked for only when a lane is free. Memory is O(lanes + steps), whatever the
            length of the clip.
        sigmas: (steps + 1,) strictly decreasing noise levels, the last may be 0.
        solver, guidance: how a frame steps, and how it is steered.
        lanes: the most frames in one batch.
    Returns: an iterator of (C, H, W) frames in order, in the denoiser's units; the state is float32, or float64 for
        noise in float64.
    Raises: UserError for unusable `sigmas` or `lanes` at once, and for a link to a frame that is neither the previous
        one nor the key frame, ShapeError for a frame unlike the first, when that frame is reached.
    """
    return Wavefront(denoiser, iter(frames), sigmas, solver, guidance, lanes).run()


@dataclass(eq=False)
class _Lane:
    """A frame on its way: its state after `step` steps."""

    index: int
    condition: Mapping[str, Tensor]
    links: tuple[Link, ...]
    anchors: tuple[Anchor, ...]
    state: Tensor
    step: int = 0
    history: History | None = None


class Wavefront:
    """The sweep's state: the frames on their way, and the estimates that they or frames to come may compare with.

    Its arguments are those of `sample`, which is `run`, and the device to go on on. Whoever may have to stop and go on
    calls `advance` instead, until it is `done`: between two ticks the `state` is all that the frames to come depend on.
    No frame need be finished for that, so no batch is another than without the break, and frames are the same to the
    last bit.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        frames: Iterator[FrameInput],
        sigmas: Tensor | Sequence[float],
        solver: Solver,
        guidance: Guidance,
        lanes: int,
        device: torch.device | None = None,
    ) -> None:
        levels = [float(sigma) for sigma in sigmas]
        falling = all(s > s_next for s, s_next in pairwise(levels))
        if len(levels) < 2 or not falling or not levels[-1] >= 0:
            raise UserError(f"noise levels must be two or more, strictly decreasing, from 0 up, got {levels}")
        if lanes < 1:
            raise UserError(f"sampling takes at least 1 lane, got {lanes}: give 1 for one frame at a time")
        self.denoiser, self.solver, self.guidance = denoiser, solver, guidance
        self.frames, self.levels, self.lanes = frames, levels, lanes
        self.steps = len(levels) - 1
        self.device = device or torch.device("cpu")
        self.guided_from = 0
        """The first step at which guidance acts; before it frames do not wait for one another."""
        self.each: Callable[..., Iterable[Tensor]] = map
        """How the frames' corrections are gone through: they do not depend on one another."""
        self.done = False
        """Whether the last frame has been handed out."""
        self.active: deque[_Lane] = deque()
        self.count = 0  # frames taken so far
        self.linkable: set[int] = set()  # frames to which the next frame may link
        self.key: int | None = None
        self.shape: tuple[int, ...] | None = None
        self.estimates: dict[tuple[int, int], Tensor] = {}  # by frame and step

    def run(self) -> Iterator[Tensor]:
        while not self.done:
            yield from self.advance()

    def advance(self) -> list[Tensor]:
        """One tick; returns the frames, in order, that are finished by it, often none."""
        self.fill()
        self.done = not self.active
        if self.done:
            return []
        self.tick()
        self.forget()
        finished = []
        # A finished frame waits in its lane for those before it, so that frames leave in order.
        while self.active and self.active[0].step == self.steps:
            finished.append(self.active.popleft().state)
        return finished

    def state(self) -> dict[str, Any]:
        """All that the frames to come depend on, tensors and numbers: for `resume`.

        Beside the frames on their way, the estimates of the last and of the key frame at every step, and of frames on
        their way those that the next ones have not come to yet: at most about 2 (lanes + steps) tensors (C, H, W).
        """
        return {
            "count": self.count,
            "key": self.key,
            "linkable": sorted(self.linkable),
            "shape": None if self.shape is None else list(self.shape),
            "lanes": [self._lane_state(lane) for lane in self.active],
            "estimates": [{"frame": j, "step": i, "value": h} for (j, i), h in self.estimates.items()],
        }

    def resume(self, state: dict[str, Any], conditions: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Go on from a `state`. `frames` has then to go on with frame `count`.

        Args:
            conditions: those of the frames that were on their way, by frame.
        """
        self.count, self.key, self.linkable = state["count"], state["key"], set(state["linkable"])
        self.shape = None if state["shape"] is None else tuple(state["shape"])
        self.active = deque(self._lane(lane, conditions[lane["frame"]]) for lane in state["lanes"])
        self.estimates = {(kept["frame"], kept["step"]): kept["value"].to(self.device) for kept in state["estimates"]}

    def _lane_state(self, lane: _Lane) -> dict[str, Any]:
        links = [link.state() for link in lane.links]
        # Of a solver that looks back on nothing none need be kept.
        history = lane.history if self.solver.order > 1 else None
        before = None if history is None else {"denoised": history[0], "sigma": history[1]}
        return {"frame": lane.index, "step": lane.step, "value": lane.state, "history": before, "links": links}

    def _lane(self, state: dict[str, Any], condition: Mapping[str, Tensor]) -> _Lane:
        value, before = state["value"].to(self.device), state["history"]
        size = (value.shape[-2], value.shape[-1])
        links = tuple(Link.resumed(link, size, self.guidance.kernel, self.device) for link in state["links"])
        anchors = self.guidance.prepare(state["frame"], links, self.solver.name)
        history = None if before is None else (before["denoised"].to(self.device), before["sigma"])
        return _Lane(state["frame"], condition, links, anchors, value, state["step"], history)

    def fill(self) -> None:
        """Take frames while lanes are free."""
        while len(self.active) < self.lanes:
            frame = next(self.frames, None)
            if frame is None:
                self.linkable = set()
                return
            self.active.append(self.enter(frame))

    def enter(self, frame: FrameInput) -> _Lane:
        """The lane of a new frame, at the first noise level."""
        self.check(frame)
        index = self.count
        # Half precision may be the model's business, but not the state's.
        dtype = torch.promote_types(frame.noise.dtype, torch.float32)
        state = self.levels[0] * frame.noise.to(dtype)
        if frame.start is not None:
            state = frame.start.to(dtype) + state
        anchors = self.guidance.prepare(index, frame.links, self.solver.name)
        self.key = index if frame.is_key else self.key
        self.linkable = {index} if self.key is None else {index, self.key}
        self.count += 1
        return _Lane(index, frame.condition, frame.links, anchors, state)

    def check(self, frame: FrameInput) -> None:
        """Raise ShapeError or UserError if the frame cannot follow those before it."""
        noise = tuple(frame.noise.shape)
        self.shape = self.shape or noise
        if len(noise) != 3:
            raise ShapeError(f"noise of frame {self.count} must be (C, H, W), got {noise}")
        if noise != self.shape:
            raise ShapeError(f"noise of frame {self.count} must be {self.shape} like the first frame's, got {noise}")
        if frame.start is not None and tuple(frame.start.shape) != noise:
            start = tuple(frame.start.shape)
            raise ShapeError(f"start of frame {self.count} must be {noise} like its noise, got {start}")
        for link in frame.links:
            if link.reference not in self.linkable:
                raise UserError(
                    f"frame {self.count} links to frame {link.reference}, but only the previous frame and the current "
                    f"key frame are kept, here {sorted(self.linkable)}: mark frame {link.reference} as a key frame"
                )

    def ready(self, lane: _Lane) -> bool:
        """Whether a frame can step: it is not finished, and its anchors' estimates at this step are there."""
        return lane.step < self.steps and all(
            (anchor.link.reference, lane.step) in self.estimates for anchor in self.acting(lane)
        )

    def acting(self, lane: _Lane) -> tuple[Anchor, ...]:
        """The anchors that a frame is compared with at its step."""
        return lane.anchors if lane.step >= self.guided_from else ()

    @torch.no_grad()
    def tick(self) -> None:
        """One step of every frame that can move, by one evaluation of the denoiser."""
        batch = [lane for lane in self.active if self.ready(lane)]
        noisy = torch.stack([lane.state for lane in batch])
        sigma = noisy.new_tensor([self.levels[lane.step] for lane in batch])
        condition = {name: torch.stack([lane.condition[name] for lane in batch]) for name in batch[0].condition}
        through_network = self.guidance.through_network and any(self.acting(lane) for lane in batch)
        with torch.set_grad_enabled(through_network):
            output = self.denoiser(noisy.requires_grad_(through_network), sigma, condition)
        denoised = output.detach().to(noisy.dtype)
        corrections = torch.stack(list(self.each(self.correction, batch, denoised)))
        if through_network:
            pushes = _pull_back(output, noisy, corrections)
        else:
            denoised, pushes = denoised - corrections, torch.zeros_like(noisy)
        for lane, h, push in zip(batch, denoised, pushes, strict=True):
            self.step(lane, h, push)

    def correction(self, lane: _Lane, denoised: Tensor) -> Tensor:
        """What guidance has to say to one frame's estimate."""
        anchors = self.acting(lane)
        if not anchors:
            return torch.zeros_like(denoised)
        references = [self.estimates[anchor.link.reference, lane.step] for anchor in anchors]
        return self.guidance.correction(denoised, anchors, references)

    def step(self, lane: _Lane, denoised: Tensor, push: Tensor) -> None:
        """Step one frame to its next noise level, and keep its estimate for those that follow."""
        sigma, sigma_next = self.levels[lane.step], self.levels[lane.step + 1]
        lane.state = self.solver.step(lane.state, denoised, sigma, sigma_next, lane.history) - push
        lane.history = (denoised, sigma)
        if self.guidance.strength > 0 and lane.step >= self.guided_from:
            # A copy of its own: an item of the batch would keep the whole batch's memory for as long as it lives.
            self.estimates[lane.index, lane.step] = denoised.clone()
        lane.step += 1

    def forget(self) -> None:
        """Drop the estimates that no frame, present or future, can still ask for."""

        def wanted(frame: int, step: int) -> bool:
            return frame in self.linkable or any(
                lane.step <= step and any(anchor.link.reference == frame for anchor in lane.anchors)
                for lane in self.active
            )

        self.estimates = {place: h for place, h in self.estimates.items() if wanted(*place)}


def _pull_back(output: Tensor, noisy: Tensor, corrections: Tensor) -> Tensor:
    """(dh/du)^T correction, of all frames in one backward pass: items of a batch do not see one another."""
    if not output.requires_grad:
        raise UserError(
            "guidance 'network' differentiates through the denoiser, but this denoiser's output carries no gradient: "
            "let it record gradients, or use guidance 'denoised'"
        )
    (pushes,) = torch.autograd.grad(output, noisy, corrections.to(output.dtype))
    return pushes
