"""One pass over a clip: each frame's flow, noise, links and condition, and what is carried on.   [paper, alg. 1]"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any, NamedTuple

from torch import Tensor

from warped_diffusion.diffusion import FrameInput, Links, Wavefront
from warped_diffusion.diffusion.contract import Condition
from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.estimators import CutDetector
from warped_diffusion.holes import Holes
from warped_diffusion.restoration import Progress, Restoration, Seen, Shot, Step, Waiting


class Entered(NamedTuple):
    """A frame that can set out: for the sampler, what is kept until it is finished, what is carried on after it."""

    input: FrameInput
    waiting: Waiting
    carried: dict[str, Any]


class Run:
    """The restored frames of a clip, (3, H', W') in [0, 1] on the CPU, in order: an iterator of all, or by `advance`.

    Between two calls of `advance` the `state` is all that is carried on; a run of the same clip and restoration that
    begins with `resume` gives the frames that would have come next, to the last bit.

    While frames are sampled, flow, noise and links of the next one are made by a second thread. What it does to what is
    carried from frame to frame counts, for the `state`, from when that frame sets out.

    Args:
        restoration: what is done; of this run alone.
        frames: (3, h, w) in [0, 1], from the clip's first one on, also where the run is to be resumed.
        holes: of the same frames, in a task that has them.
        progress: told of every evaluation of the denoiser.
    """

    def __init__(
        self, restoration: Restoration, frames: Iterable[Tensor], holes: Holes | None, progress: Progress
    ) -> None:
        self.restoration, self.holes, self.progress = restoration, holes, progress
        self.steps = len(restoration.sigmas) - 1
        self.frames, self.count = iter(frames), 0
        """What is left of the clip, and how many frames have been taken from it."""
        self.evaluations = 0
        """Of the denoiser, of single frames, since the clip began."""
        self.ties = Links(restoration.guidance, restoration.canvas.grid, restoration.device)
        self.shot: Shot = restoration.first_shot
        self.previous: Seen | None = None
        self.detector = CutDetector() if restoration.cuts is None else None
        self.waiting: deque[Waiting] = deque()
        self.carried = self.carry()
        """After the last frame that has set out."""
        guidance, device = restoration.guidance, restoration.device
        self.wavefront = Wavefront(
            self.denoise, self.inputs(), restoration.sigmas, restoration.solver, guidance, 1, device
        )
        self.wavefront.guided_from = restoration.guided_from
        if restoration.share > 1 and device.type == "cpu":
            # Each replica's core waits for the corrections.
            self.wavefront.each = ThreadPoolExecutor(restoration.share, "correction").map

    @cached_property
    def lanes(self) -> int:
        """Frames in one batch; those of the state where the run is resumed from one, as another number may be found."""
        return self.restoration.lanes

    @property
    def done(self) -> bool:
        """Whether all frames have been handed out."""
        return self.wavefront.done

    def __iter__(self) -> Iterator[Tensor]:
        while not self.done:
            yield from self.advance()

    def advance(self) -> Iterator[Tensor]:
        """One evaluation of the denoiser: the frames that are finished by it, often none; take them all.

        Raises: NotFiniteError in the place of a frame of which the model makes anything else than numbers.
        """
        self.wavefront.lanes = self.lanes
        for state in self.wavefront.advance():
            index = self.count - len(self.waiting)
            yield self.restoration.finished(index, state, self.waiting.popleft())

    def state(self) -> dict[str, Any]:
        """All that the frames to come depend on beside clip and restoration, tensors and numbers: for `resume`."""
        return self.carried | {
            "lanes": self.lanes,
            "evaluations": self.evaluations,
            "decoded": self.restoration.decoded.state(),
            "steps": [None if one.step is None else one.step._asdict() for one in self.waiting],
            "sampler": self.wavefront.state(),
        }

    def carry(self) -> dict[str, Any]:
        """What a frame leaves to the next one as it sets out. Nothing in it is changed later, but replaced."""
        return {
            "count": self.count,
            "links": self.ties.state(),
            "shot": self.shot.state(),
            "cuts": None if self.detector is None else self.detector.state(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a `state`: frames that were taken are read again, and those that were on their way kept.

        Raises: UserError if the clip has fewer frames than had been taken.
        """
        self.lanes, self.evaluations = state["lanes"], state["evaluations"]
        self.ties.resume(state["links"])
        self.shot = self.restoration.shot(state["shot"]["number"], state["shot"]["start"])
        self.shot.resume(state["shot"])
        if self.detector is not None:
            self.detector.resume(state["cuts"])
        self.restoration.decoded.resume(state["decoded"])
        told = self.read_again(state["count"], [None if step is None else Step(**step) for step in state["steps"]])
        self.carried = self.carry()
        self.wavefront.resume(state["sampler"], told)

    def read_again(self, count: int, steps: list[Step | None]) -> dict[int, Condition]:
        """Take the first `count` frames; the last ones, with these steps, are on their way: what the model is told."""
        told = {}
        waiting = count - len(steps)
        for frame in self.frames:
            if self.count >= min(waiting, count - 1):  # flow is estimated from the last one
                new = self.read(frame.cpu())
                if self.count >= waiting:
                    self.waiting.append(new._replace(step=steps[self.count - waiting]))
                    told[self.count] = self.restoration.told(new.condition)
                self.previous = self.restoration.seen(new.frame, new.hole, new.condition)
            elif self.holes is not None:
                self.holes.skip(self.count)
            self.count += 1
            if self.count == count:
                return told
        raise UserError(f"{count} frames of the clip had been read, now it has {self.count}: give the same clip")

    def denoise(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        denoised = self.restoration.denoise(noisy, sigma, condition)
        self.evaluations += len(noisy)
        self.progress(len(noisy))
        return denoised

    def read(self, frame: Tensor) -> Waiting:
        """The next frame with all that is a function of it alone.   Raises: ShapeError for one unlike the first."""
        expected = (3, *self.restoration.input_size)
        if tuple(frame.shape) != expected:
            raise ShapeError(f"frame {self.count} is {tuple(frame.shape)}, expected {expected} like the first one")
        hole = None if self.holes is None else self.holes.take(self.count)
        return Waiting(frame, hole, self.restoration.condition(frame, hole), None)

    def inputs(self) -> Iterator[FrameInput]:
        """What the sampler needs of each frame, the next one's in the making."""
        with ThreadPoolExecutor(1, "ahead") as ahead:
            coming = self.begin(ahead)
            while (entered := coming.result()) is not None:
                self.waiting.append(entered.waiting)
                self.carried = entered.carried
                coming = self.begin(ahead)
                yield entered.input

    def begin(self, ahead: ThreadPoolExecutor) -> "Future[Entered | None]":
        """Read the next frame, and let it be prepared; whatever is wrong is told to who asks for the result.

        It is read in this thread: a clip may be closed, or be of a kind that wants one thread alone.
        """
        nothing: Future[Entered | None] = Future()
        try:
            frame = next(self.frames, None)
            if frame is not None:
                return ahead.submit(self.enter, self.read(frame.cpu()))
            if self.holes is not None:
                self.holes.finish(self.count)
            nothing.set_result(None)
        except Exception as error:
            nothing.set_exception(error)
        return nothing

    def enter(self, new: Waiting) -> Entered:
        """The next frame made ready to set out."""
        restoration, index = self.restoration, self.count
        seen = restoration.seen(new.frame, new.hole, new.condition)
        if self.begins_shot(index, seen.picture):
            self.shot, self.previous = restoration.shot(self.shot.number + 1, index), None
        moved = None
        if restoration.needs_motion and self.previous is not None:
            moved = restoration.step(index, self.previous, seen)
        step = None if moved is None else restoration.on_canvas(moved)
        links = self.ties.advance(step, None if new.hole is None else restoration.covered(new.hole))
        restoration.guidance.prepare(index, links, restoration.solver.name)  # links keep what that takes most time for
        noise = restoration.temperature * self.shot.noise(index, step).to(restoration.device)
        told = restoration.told(new.condition)
        self.previous, self.count = seen, index + 1
        frame = FrameInput(noise, told, links, restoration.model.start(told), self.ties.key_index == index)
        return Entered(frame, new._replace(step=moved if restoration.decoded.strength else None), self.carry())

    def begins_shot(self, index: int, picture: Tensor) -> bool:
        """Whether a frame, asked of in order, begins a shot after another."""
        if self.detector is not None:
            return self.detector.advance(picture)
        return index in (self.restoration.cuts or ())
