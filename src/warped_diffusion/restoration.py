"""One restoration from its options on: flow, noise, condition and denoiser, as its frames ask for them."""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from warped_diffusion.canvas import Canvas
from warped_diffusion.decoded import DecodedGuidance
from warped_diffusion.diffusion import (
    Consistent,
    Divided,
    Tiled,
    choose_tiling,
    get_solver,
    karras_sigmas,
    make_guidance,
    project,
    some_levels,
)
from warped_diffusion.diffusion.contract import Condition, Denoiser
from warped_diffusion.diffusion.lanes import Need, fastest, free_memory, is_tried
from warped_diffusion.errors import NotFiniteError, ShapeError, UserError
from warped_diffusion.estimators import estimate_around, estimate_pair, get_estimator
from warped_diffusion.flow import (
    Motion,
    agreement,
    compose,
    get_kernel,
    identity_map,
    resize_map,
    resize_values,
)
from warped_diffusion.holes import Hole, missing
from warped_diffusion.models import load_model, replicas
from warped_diffusion.noise import Scheme, get_spectrum, make_scheme
from warped_diffusion.options import (
    Options,
    check_cuts,
    choose_devices,
    choose_lanes,
    settled,
    temperature,
    unguided_steps,
)
from warped_diffusion.tasks import SuperResolution, Task, composite, make_task

Progress = Callable[[int], None]
"""Called with the number of denoiser evaluations of single frames that have just been done."""

PROJECTIONS = 5
"""Of a latent model's steps, so many decode, project and encode its estimates; the last one always does."""

LOSSY = 0.1
"""The noise level at which as much of a picture is open as after decoding: an error of 0.05, model units, 32 dB."""

ENOUGH = 0.5
"""How far a pixel's motion must be trusted for its noise to follow in full: a little doubt is no reason to flicker."""


MOST_LANES = 16
"""More are not tried: a clip fills them only while it has as many frames on their way."""

BYTES, WEIGHT = 500, 16
"""Of a lane, for each cell: what it takes itself, the embedded network's features included; a weight of a warp."""

_LANES: dict[tuple[object, ...], int] = {}
"""Found by trying, by model, task, size and device."""


class Step(NamedTuple):
    """The motion between two consecutive frames, as in `Motion`, on the output grid."""

    forward: Tensor
    backward: Tensor
    visible: Tensor
    known: Tensor


class Seen(NamedTuple):
    """A frame as the flow sees it, its holes smoothly filled, and its hole, if it is of a task that has them."""

    picture: Tensor
    hole: Hole | None


class Waiting(NamedTuple):
    """A frame that is being restored, its hole, its condition and, where decoded guidance asks for it, its motion."""

    frame: Tensor
    hole: Hole | None
    condition: Condition
    step: Step | None


class Shot:
    """The noise of one shot, frame by frame."""

    def __init__(self, number: int, start: int, scheme: Scheme, size: tuple[int, int]) -> None:
        self.number, self.start, self._scheme = number, start, scheme
        self._positions = identity_map(*size)

    def noise(self, index: int, step: Step | None) -> Tensor:
        """Of the clip's frame `index`; `step` is the motion that led to it, where anything moves."""
        if step is None:
            return self._scheme.frame(index - self.start, self._positions)
        self._positions = compose(self._positions, step.backward)
        known = (step.known / ENOUGH).clamp(max=1)
        return self._scheme.frame(index - self.start, self._positions, step.backward, known)

    def state(self) -> dict[str, Any]:
        """All that the noise of frames to come depends on, tensors and numbers: for `resume`."""
        place = {"number": self.number, "start": self.start, "positions": self._positions}
        return place | {"noise": self._scheme.state()}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from the `state` of a shot of the same number and start."""
        self._positions = state["positions"]
        self._scheme.resume(state["noise"])


class Restoration:
    """Everything that is decided before the first frame; a `Run` carries the rest from frame to frame."""

    def __init__(self, options: Options, size: tuple[int, int], motion: Motion | None) -> None:
        options = settled(options)
        self.options, self.input_size, self.motion = options, size, motion
        self.task: Task = make_task(str(options.task), options.scale, options.blur)
        self.size = self.task.output_size(size)
        if motion is not None and motion.size != self.size:
            raise ShapeError(f"motion is on a grid of {motion.size}, expected the output's {self.size}: use resize")
        self.device, *further = choose_devices(options.device)
        scale = self.task.scale if isinstance(self.task, SuperResolution) else None
        how = (options.pretrained, scale, options.tile)
        self.model = load_model(options.model, self.task.name, self.device, *how)
        self.consistent = not self.model.sees_input if options.consistency is None else options.consistency
        if not self.model.sees_input and not self.consistent:
            raise UserError(
                f"the model {options.model} is not told of the input, and would restore something else: leave "
                f"consistency on, or give one made for {options.task}"
            )
        codec, multiple = self.model.codec, self.model.multiple
        factor = 1 if codec is None else codec.factor
        tiling = choose_tiling(options.tile, self.model.tile, factor)
        others = replicas(further, options.model, self.task.name, *how)
        denoiser = Divided([self.model.denoiser, *others]) if others else self.model.denoiser
        self.denoiser = denoiser if tiling is None else Tiled(denoiser, tiling)
        if self.consistent:
            multiple = math.lcm(multiple, self.size[0] // size[0])
        if codec is None and options.decoded_guidance:
            raise UserError(f"the model {options.model} works on pixels, not latents: leave out decoded_guidance")
        self.decoded = DecodedGuidance(options.decoded_guidance, self.size, self.device, believe=motion is not None)
        self.canvas = Canvas(self.size, factor, multiple)
        self.spectrum = options.spectrum or self.model.preferred or self.model.spectra[0]
        get_spectrum(self.spectrum)
        if self.spectrum not in self.model.spectra:
            raise UserError(f"the model knows noise of spectrum {', '.join(self.model.spectra)}, not {self.spectrum!r}")
        guidance = options.guidance
        self.guidance = make_guidance(guidance, options.strength) if isinstance(guidance, str) else guidance
        self.guided_from = unguided_steps(options.guided, options.steps)
        self.solver = get_solver(options.solver)
        self.temperature = temperature(self.task.detail if options.detail is None else options.detail)
        at_once = self.canvas.grid if tiling is None else tiling.largest(self.canvas.grid)
        self.share = 1 + len(further)
        """Replicas among which a batch is divided."""
        self._usual_lanes = choose_lanes(options.lanes, (at_once[0] * factor, at_once[1] * factor), self.device)
        get_estimator(options.flow)
        if isinstance(options.shot, bool) or not isinstance(options.shot, int) or options.shot < 0:
            raise UserError(f"shot is a whole number from 0 up, got {options.shot!r}")
        self.cuts = self.known_cuts()
        self.first_shot = self.shot(options.shot, 0)
        whole = Hole(torch.ones(1, *size), torch.ones(1, *size)) if self.task.takes_mask else None
        example = self.condition(torch.zeros(3, *size), whole)
        self._example = self.told(example)
        self.sigmas = self.noise_levels(self._example)
        if self.consistent:
            self.task.operator(example)  # tells of a task that is not linear
        self.projection = self.consistency() if self.consistent else None

    @cached_property
    def lanes(self) -> int:
        """Frames in one batch, as asked; "auto" on a CPU by their size, elsewhere by trying, and as memory allows."""
        if self.options.lanes != "auto":
            return self._usual_lanes
        free, cells = free_memory(self.device), math.prod(self.canvas.grid)
        taps = (2 * get_kernel(self.guidance.kernel).support) ** 2
        need = Need(int(cells * (BYTES + WEIGHT * taps * len(self.guidance.anchors))), MOST_LANES * self.share)
        if not is_tried(self.device):
            return min(self._usual_lanes * self.share, need.fitting(free))
        named = isinstance(self.options.model, str | Path)
        key = (self.options.model, self.task.name, self.canvas.grid, self.options.device, need)
        if named and key in _LANES:
            return _LANES[key]
        found = fastest(self._evaluate, max(self.share, need.fitting(free)), self.share, 2 * self.options.steps)
        if named:
            _LANES[key] = found
        return found

    @torch.no_grad()
    def _evaluate(self, count: int) -> None:
        """A batch of so many frames without anything in them, to its end."""
        noisy = torch.zeros(count, self.model.channels, *self.canvas.grid, device=self.device)
        condition = {name: value.expand(count, *value.shape) for name, value in self._example.items()}
        self.denoise(noisy, noisy.new_full((count,), float(self.sigmas[0])), condition)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def denoise(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """The model's estimate, put right by what the input says."""
        network: Denoiser = self.projection or self.denoiser
        denoised = network(noisy, sigma, condition)
        # What the input says is of pixels.
        return self.task.agree(denoised, condition) if self.model.codec is None else denoised

    def finished(self, index: int, state: Tensor, waiting: Waiting) -> Tensor:
        """Restored frame `index`, over its input where it had a hole; what guidance added against the input taken off.

        Raises: NotFiniteError if the model gave anything else than numbers.
        """
        frame, hole, condition, step = waiting
        batch, state = {name: value[None] for name, value in condition.items()}, state[None]
        state = self.canvas.cropped(state if self.model.codec is None else self.model.codec.decode(state))
        state = self.decoded.advance(
            self.held(state, batch)[0],
            step,
            None if hole is None else hole.mask[0].to(state),
            lambda picture: self.held(picture[None], batch)[0],
        )
        restored = ((state + 1) / 2).cpu()
        # Here the frame is on the CPU anyway: asked of every step, a GPU would have to be waited for.
        if not restored.isfinite().all():
            raise NotFiniteError(index)
        restored = restored.clamp(0, 1)
        return restored if hole is None else composite(frame, restored, hole.alpha)

    def held(self, pictures: Tensor, batch: Condition) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1], changed as far as they contradict the input."""
        if self.projection is not None:
            last = float(self.sigmas[-2])
            open_at = last if self.model.codec is None else max(last, LOSSY)
            ratio = self.projection.ratio(pictures.new_tensor([open_at]))
            pictures = project(pictures, batch["measurement"], self.task.operator(batch), ratio)
        return self.task.agree(pictures, batch)

    @staticmethod
    def seen(frame: Tensor, hole: Hole | None, condition: Condition) -> Seen:
        """The frame as the flow sees it."""
        if hole is None:
            return Seen(frame, None)
        return Seen(((condition["picture"] + 1) / 2).clamp(0, 1).to(frame), hole)

    @property
    def needs_motion(self) -> bool:
        """Whether anything of this restoration looks at the flow."""
        compared = bool(self.guidance.anchors) or self.decoded.strength > 0
        return compared or self.options.noise not in ("fixed", "resample")

    def known_cuts(self) -> frozenset[int] | None:
        """The first frames of new shots; None where they are to be found.   Raises: UserError for cuts of no sense."""
        asked = check_cuts(self.options.cuts)
        if self.motion is None:
            return asked
        known = frozenset(self.motion.cuts)
        if asked is not None and asked != known:
            there = ", ".join(map(str, self.motion.cuts)) or "none"
            raise UserError(f"the motion has its own cuts, {there}: leave out cuts, got {self.options.cuts!r}")
        return known

    def shot(self, number: int, start: int) -> Shot:
        """The shot of that number, which begins with frame `start`."""
        scheme = make_scheme(
            self.options.noise,
            channels=self.model.channels,
            size=self.canvas.grid,
            spectrum=self.spectrum,
            seed=self.options.seed,
            shot=number,
            fresh=self.options.fresh,
        )
        return Shot(number, start, scheme, self.canvas.grid)

    def step(self, index: int, previous: Seen, frame: Seen) -> Step:
        """The motion from frame index - 1 to frame index, of the output's pixels."""
        if self.motion is None:
            pictures = previous.picture, frame.picture
            if previous.hole is None or frame.hole is None:
                step = Step(*estimate_pair(*pictures, self.size, self.options.flow))
                return self.trusted(step, *pictures)
            holes = previous.hole.mask, frame.hole.mask
            *maps, left, came = estimate_around(*pictures, holes, self.size, self.options.flow)
            return self.trusted(Step(*maps), *pictures, left, came)
        motion, pair = self.motion, index - 1
        if index >= motion.frames:
            raise ShapeError(f"motion is of {motion.frames} frames, the clip has more: give one of the same clip")
        fields = (motion.forward, motion.backward, motion.visible, motion.known)
        return Step(*(field[pair].cpu() for field in fields))

    def on_canvas(self, step: Step) -> Step:
        """The same of what the model works on. Visibility was found per pixel, and is pooled."""
        forward, backward = self.canvas.map(step.forward), self.canvas.map(step.backward)
        return Step(forward, backward, self.canvas.values(step.visible), self.canvas.values(step.known))

    def covered(self, hole: Hole) -> Tensor:
        """(H, W) of 0 and 1 on the canvas' grid: cells of which the hole covers any part."""
        return (self.canvas.values(hole.mask[0]) > 0).float().to(self.device)

    def trusted(
        self, step: Step, previous: Tensor, frame: Tensor, left: Tensor | None = None, came: Tensor | None = None
    ) -> Step:
        """Estimated motion, its masks lowered where the input does not look the same at both of its ends.

        `left` and `came`, of 0 and 1 on the grids of `visible` and `known`: where it leads from or into a hole, which
        looks like nothing.
        """
        there, back = (resize_map(positions, self.input_size) for positions in (step.forward, step.backward))
        seen = resize_values(agreement(previous, frame, there), self.size)
        came_from = resize_values(agreement(frame, previous, back), self.size)
        seen = seen if left is None else torch.maximum(seen, left)
        came_from = came_from if came is None else torch.maximum(came_from, came)
        return step._replace(visible=step.visible * seen, known=step.known * came_from)

    def condition(self, frame: Tensor, hole: Hole | None) -> Condition:
        """The task's condition of one frame, without a batch dimension."""
        batch = self.task.condition(frame[None].to(self.device), missing(hole, self.device))
        condition = {name: value[0] for name, value in batch.items()}
        measured = {"measurement": frame.to(self.device) * 2 - 1}
        return condition | measured if self.consistent or self.model.codec is not None else condition

    def told(self, condition: Condition) -> Condition:
        """What the model is told of a frame: the task's condition, on the canvas, and the noise's spectrum."""
        batch = {name: self.canvas.continued(value[None]) for name, value in condition.items()}
        prepared = self.model.prepare(batch)
        told = {name: value[0] for name, value in ({**batch, **prepared} if self.consistent else prepared).items()}
        return told | {"spectrum": torch.tensor(self.model.spectra.index(self.spectrum), device=self.device)}

    def consistency(self) -> Consistent:
        """The denoiser, its estimates projected towards the input."""
        codec, noise = self.model.codec, self.task.noise
        if codec is None:
            return Consistent(self.denoiser, self.task.operator, noise)
        levels = some_levels(self.sigmas, PROJECTIONS)
        return Consistent(self.denoiser, self.task.operator, noise, unit=1.0, codec=codec, levels=levels)

    def noise_levels(self, told: Condition) -> Tensor | Sequence[float]:
        """The model's own noise levels, or else a grid over the range that it works in."""
        if self.model.levels is not None:
            return self.model.levels(self.options.steps, self.canvas.grid)
        return karras_sigmas(self.options.steps, *self.model.sigma_range(told))
