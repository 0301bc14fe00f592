"""Several clips through one wavefront, so that no lane is empty where one ends and the next begins."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

from torch import Tensor

from warped_diffusion.errors import NotFiniteError, UserError
from warped_diffusion.estimators import CutDetector
from warped_diffusion.memory import loading, sampling
from warped_diffusion.options import Options
from warped_diffusion.restoration import Progress, Restoration, Waiting
from warped_diffusion.running import Entered, Run

Numbered = tuple[int, Tensor]
"""A frame, and the number of its clip."""


class Together(Run):
    """The frames of several clips, one clip after the other, as a `Run` of all.

    A clip's first frame is linked to nothing, so it sets out as soon as a lane is free, like one after a cut. Noise,
    shots and cuts are counted from there: each clip is what it would be alone. There is no state to go on from.

    Args:
        frames: in order, each with its clip's number.
    """

    def __init__(self, restoration: Restoration, frames: Iterable[Numbered], progress: Progress) -> None:
        self._number = self._clip = 0
        """Of the frame that was read last, and of the one that was last prepared."""
        self._first = 0
        """The clip's first frame."""
        self._origins: deque[int] = deque()
        super().__init__(restoration, self._read_in_turn(frames), None, progress)

    def numbered(self) -> Iterator[Numbered]:
        """The restored frames, each with its clip's number.   Raises: NotFiniteError with the frame's number in it."""
        clip, count = 0, 0
        try:
            for frame in self:
                number = self._origins.popleft()
                clip, count = number, count + 1 if number == clip else 1
                yield number, frame
        except NotFiniteError as error:
            raise NotFiniteError(count if self._origins and self._origins[0] == clip else 0) from error

    def enter(self, new: Waiting) -> Entered:
        if self._number != self._clip:
            self._clip, self._first, self.previous = self._number, self.count, None
            self.shot = self.restoration.shot(self.restoration.options.shot, self.count)
            self.detector = None if self.detector is None else CutDetector()
        self._origins.append(self._number)
        return super().enter(new)

    def begins_shot(self, index: int, picture: Tensor) -> bool:
        return super().begins_shot(index - self._first, picture)

    def _read_in_turn(self, frames: Iterable[Numbered]) -> Iterator[Tensor]:
        for self._number, frame in frames:
            yield frame


def restore_together(
    clips: Iterable[Iterable[Tensor]], options: Options, progress: Progress = lambda _: None
) -> Iterator[Numbered]:
    """Restore clips of one size as a stream, with fewer evaluations of the denoiser than one by one.

    Args:
        clips: of frames (3, h, w) in [0, 1], all of one size, asked for as they are needed.
        options: for all of them; a task without masks.
        progress: told of every evaluation of the denoiser.
    Returns: an iterator of (number of the clip from 0, its next restored frame), clip by clip in order. Each clip is
        the one that `restore_stream` gives, to what a batch of another size rounds differently.
    Raises: as `restore_stream`, and UserError for a task with masks.
    """
    frames = ((number, frame) for number, clip in enumerate(clips) for frame in clip)
    first = next(frames, None)
    if first is None:
        return iter(())
    with loading(options):
        restoration = Restoration(options, (first[1].shape[-2], first[1].shape[-1]), None)
    if restoration.task.takes_mask:
        raise UserError(f"task {restoration.task.name!r} has masks: restore its clips one by one")
    run = Together(restoration, chain([first], frames), progress)
    return sampling(run.numbered(), options, run.lanes)
