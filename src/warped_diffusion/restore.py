"""Restoring a clip: flow, noise, links and condition of each frame, handed on as a stream.   [paper, alg. 1]"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from warped_diffusion.diffusion import FrameInput, Guidance, Link, get_solver, karras_sigmas, make_guidance, sample
from warped_diffusion.diffusion.contract import Condition, Denoiser
from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.estimators import estimate_pair, get_estimator
from warped_diffusion.flow import (
    KeyFrames,
    Motion,
    Warp,
    agreement,
    compose,
    identity_map,
    resize_map,
    resize_values,
)
from warped_diffusion.models import Model, load_model
from warped_diffusion.noise import Scheme, get_spectrum, make_scheme
from warped_diffusion.tasks import Task, make_task

Progress = Callable[[int], None]
"""Called with the number of denoiser evaluations of single frames that have just been done."""


@dataclass(frozen=True)
class Options:
    """How a clip is restored; the keywords of `restore`.

    Attributes:
        task: a name in `tasks.TASKS`.
        scale: how many times larger than the input, a whole number from 2 to 8.
        model: a name in `models.MODELS`, the path of a weights file, a `Model` or any `Denoiser`.
        noise: a name in `noise.SCHEMES`.
        spectrum: a name in `noise.SPECTRA`; None for the model's own.
        guidance: a name in `diffusion.GUIDANCE`, or a `Guidance`, whose own strength then counts.
        strength: of the guidance, as a multiple of its calibrated default.
        steps: denoiser evaluations a frame.
        solver: a name in `diffusion.SOLVERS`.
        flow: a name in `estimators.ESTIMATORS`.
        lanes: the most frames in one batch of the denoiser, or "auto".
        seed: of all randomness; the same seed gives the same clip on any device, to rounding.
        device: "cpu", "cuda", ...; None for the first GPU if there is one.
    """

    task: str = "super-resolution"
    scale: int = 4
    model: "str | Path | Denoiser | Model" = "embedded"
    noise: str = "gp"
    spectrum: str | None = None
    guidance: str | Guidance = "denoised"
    strength: float = 1.0
    steps: int = 20
    solver: str = "euler"
    flow: str = "dis"
    lanes: int | str = "auto"
    seed: int = 0
    device: str | None = None


def restore(
    frames: Tensor,
    task: str = "super-resolution",
    scale: int = 4,
    model: "str | Path | Denoiser | Model" = "embedded",
    noise: str = "gp",
    guidance: str | Guidance = "denoised",
    steps: int = 20,
    solver: str = "euler",
    strength: float = 1.0,
    lanes: int | str = "auto",
    seed: int = 0,
    device: str | None = None,
    mask: Tensor | None = None,
    motion: Motion | None = None,
    spectrum: str | None = None,
    flow: str = "dis",
) -> Tensor:
    """Restore a clip that is held in memory; `Options` explains the keywords.

    Args:
        frames: (N, 3, h, w) in [0, 1], the degraded clip.
        mask: what to fill in, for tasks that take one; super-resolution does not.
        motion: the clip's motion on the output grid, where it is known; estimated from `frames` if None.
    Returns: (N, 3, H', W') in [0, 1], float32 on the CPU.
    Raises: ShapeError if frames or motion have the wrong shape, UserError for an option that cannot be used.
    """
    if mask is not None:
        raise UserError(f"task {task!r} takes no mask: leave it out")
    if frames.ndim != 4 or frames.shape[1] != 3 or not len(frames):
        raise ShapeError(f"frames are (N, 3, h, w) with at least one frame, got {tuple(frames.shape)}")
    options = Options(task, scale, model, noise, spectrum, guidance, strength, steps, solver, flow, lanes, seed, device)
    if motion is not None and motion.frames != len(frames):
        raise ShapeError(f"motion is of {motion.frames} frames, the clip has {len(frames)}: give one of the same clip")
    return torch.stack(list(restore_stream(frames, options, motion)))


def restore_stream(
    frames: Iterable[Tensor], options: Options, motion: Motion | None = None, progress: Progress = lambda _: None
) -> Iterator[Tensor]:
    """Restore a clip as a stream: memory does not grow with its length.

    Args:
        frames: (3, h, w) in [0, 1] each, all of one size, asked for as they are needed.
        motion: on the output grid; estimated if None.
        progress: told of every evaluation of the denoiser.
    Returns: an iterator of (3, H', W') in [0, 1] on the CPU, one for each frame, in order.
    Raises: as `restore`; a wrong option at once, a wrong frame when it is reached.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return iter(())
    job = _Job(options, (first.shape[-2], first.shape[-1]), motion)
    return job.run(chain([first], frames), progress)


class Step(NamedTuple):
    """The motion between two consecutive frames, as in `Motion`, on the output grid."""

    forward: Tensor
    backward: Tensor
    visible: Tensor
    known: Tensor


class _Job:
    """Everything that a restoration decides before its first frame."""

    def __init__(self, options: Options, size: tuple[int, int], motion: Motion | None) -> None:
        self.options, self.input_size, self.motion = options, size, motion
        self.task: Task = make_task(options.task, scale=options.scale)
        self.size = self.task.output_size(size)
        if motion is not None and motion.size != self.size:
            raise ShapeError(f"motion is on a grid of {motion.size}, expected the output's {self.size}: use resize")
        self.device = choose_device(options.device)
        self.model = load_model(options.model, options.task, self.device)
        self.spectrum = options.spectrum or self.model.preferred or self.model.spectra[0]
        get_spectrum(self.spectrum)
        if self.spectrum not in self.model.spectra:
            raise UserError(f"the model knows noise of spectrum {', '.join(self.model.spectra)}, not {self.spectrum!r}")
        guidance = options.guidance
        self.guidance = make_guidance(guidance, options.strength) if isinstance(guidance, str) else guidance
        self.solver = get_solver(options.solver)
        self.lanes = choose_lanes(options.lanes, self.size, self.device)
        get_estimator(options.flow)
        self.shot_noise(0)  # a wrong scheme is told at once
        steps = options.steps
        self.sigmas = karras_sigmas(steps, *self.model.sigma_range(self.condition(torch.zeros(3, *size))))

    def run(self, frames: Iterable[Tensor], progress: Progress) -> Iterator[Tensor]:
        def denoise(noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
            denoised = self.model.denoiser(noisy, sigma, condition)
            progress(len(noisy))
            return denoised

        states = sample(denoise, self.inputs(frames), self.sigmas, self.solver, self.guidance, self.lanes)
        return (((state + 1) / 2).clamp(0, 1).cpu() for state in states)

    def inputs(self, frames: Iterable[Tensor]) -> Iterator[FrameInput]:
        """What the sampler needs of each frame, made when a lane is free for it."""
        keys, previous, shot, start = KeyFrames(), None, 0, 0
        scheme, positions = self.shot_noise(shot), identity_map(*self.size)
        for index, frame in enumerate(frames):
            if tuple(frame.shape) != (3, *self.input_size):
                expected = (3, *self.input_size)
                raise ShapeError(f"frame {index} is {tuple(frame.shape)}, expected {expected} like the first one")
            links: tuple[Link, ...] = ()
            if previous is not None and self.needs_motion:
                if self.motion is not None and index in self.motion.cuts:
                    shot, start = shot + 1, index
                    scheme, positions = self.shot_noise(shot), identity_map(*self.size)
                    _announce_cut(keys, self.size)
                else:
                    step = self.step(index, previous, frame)
                    positions = compose(positions, step.backward)
                    links = self.links(index, step, keys)
            condition = self.condition(frame)
            noise = scheme.frame(index - start, positions).to(self.device)
            is_key = keys.key_index == index
            yield FrameInput(noise, condition, links, self.model.start(condition), is_key)
            previous = frame

    @property
    def needs_motion(self) -> bool:
        """Whether anything of this restoration looks at the flow."""
        return bool(self.guidance.anchors) or self.options.noise not in ("fixed", "resample")

    def shot_noise(self, shot: int) -> Scheme:
        return make_scheme(
            self.options.noise,
            channels=self.model.channels,
            size=self.size,
            spectrum=self.spectrum,
            seed=self.options.seed,
            shot=shot,
        )

    def step(self, index: int, previous: Tensor, frame: Tensor) -> Step:
        """The motion from frame index - 1 to frame index."""
        if self.motion is None:
            step = Step(*estimate_pair(previous, frame, self.size, self.options.flow))
            return self.trusted(step, previous, frame)
        motion, pair = self.motion, index - 1
        return Step(motion.forward[pair], motion.backward[pair], motion.visible[pair], motion.known[pair])

    def trusted(self, step: Step, previous: Tensor, frame: Tensor) -> Step:
        """Estimated motion, its masks lowered where the input does not look the same at both of its ends."""
        there, back = (resize_map(positions, self.input_size) for positions in (step.forward, step.backward))
        seen = resize_values(agreement(previous, frame, there), self.size)
        came = resize_values(agreement(frame, previous, back), self.size)
        return step._replace(visible=step.visible * seen, known=step.known * came)

    def links(self, index: int, step: Step, keys: KeyFrames) -> tuple[Link, ...]:
        """The frame's ties to its anchors, those of them that the guidance asks for."""
        key = keys.advance(*step)
        weights = self.guidance.anchors
        links = []
        if "previous" in weights:
            links.append(self.link(index - 1, step.forward, step.visible, step.known, weights["previous"]))
        if "key" in weights and key is not None:
            if key.is_previous and links:
                links[0] = replace(links[0], weight=weights["key"])
            else:
                links.append(self.link(key.key_index, key.forward, key.visible, key.known, weights["key"]))
        return tuple(links)

    def link(self, reference: int, forward: Tensor, visible: Tensor, known: Tensor, weight: float) -> Link:
        warp = Warp(forward.to(self.device), self.size, self.guidance.kernel)
        return Link(reference, warp, visible.to(self.device), known.to(self.device), weight)

    def condition(self, frame: Tensor) -> Mapping[str, Tensor]:
        """The task's condition of one frame and the spectrum of its noise, without a batch dimension."""
        condition = {name: value[0] for name, value in self.task.condition(frame[None].to(self.device)).items()}
        return condition | {"spectrum": torch.tensor(self.model.spectra.index(self.spectrum), device=self.device)}


def choose_device(name: str | None) -> torch.device:
    """The device of that name, or the first GPU if there is one.   Raises: UserError if it is not there."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {name!r} cannot be used here: give cpu, or leave it out") from error
    return device


def choose_lanes(lanes: int | str, size: tuple[int, int], device: torch.device) -> int:
    """The number of frames in a batch: as asked, or for "auto" as many as hold 2 megapixels, at most 16.

    Raises: UserError for anything else than a whole number from 1 up or "auto".
    """
    if lanes == "auto":
        budget = 2**21 if device.type == "cuda" else 2**17
        return max(1, min(16, budget // (size[0] * size[1])))
    if isinstance(lanes, bool) or not isinstance(lanes, int) or lanes < 1:
        raise UserError(f'lanes is a whole number from 1 up, or "auto", got {lanes!r}')
    return lanes


def _announce_cut(keys: KeyFrames, size: tuple[int, int]) -> None:
    nothing = torch.zeros(size)
    still = identity_map(*size)
    keys.advance(still, still, nothing, nothing, cut=True)
