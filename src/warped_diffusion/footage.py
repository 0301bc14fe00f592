"""The frames that are wanted of a file, open, and how they are to be restored: on a track of a journal."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.fingerprints import Settings, settings
from warped_diffusion.journal import Track
from warped_diffusion.masked_video import Bounds, MaskedVideo, MaskSource, open_masked
from warped_diffusion.memory import sampling
from warped_diffusion.options import Options, check_cuts
from warped_diffusion.restoration import Progress
from warped_diffusion.restore import open_run
from warped_diffusion.tasks import make_task
from warped_diffusion.video import USUAL, Limits, VideoReader


class Footage:
    """A video file, or a sequence of pictures, that is to be restored.

    Args:
        options: settled; cuts are counted from the file's first frame.
        bounds: the frames wanted.
        masks: what is to be filled in.
        stack: closes what is opened.
        frame_rate: of a sequence of pictures.
        limits: how large it may be, before and after restoring.
    Raises: UserError for a file or an option that cannot be used.
    """

    def __init__(
        self,
        source: Path,
        options: Options,
        bounds: Bounds,
        masks: MaskSource,
        stack: ExitStack,
        frame_rate: Fraction | None = None,
        limits: Limits = USUAL,
    ) -> None:
        self.source, self.bounds, self.masks = source, bounds, masks
        self._grow, self._frame_rate, self._limits = options.rim[0], frame_rate, limits
        self.video = self.open(stack)
        self.options = replace(options, cuts=_within(options.cuts, self.video.reader))
        """Cuts are counted from the first frame wanted."""
        self.size = make_task(str(options.task), options.scale, options.blur).output_size(self.video.size)
        """(H, W) of the restored frames."""
        limits.check_size(self.size, f"a restored frame of {source}")

    def open(self, stack: ExitStack, bounds: Bounds | None = None, masked: bool = True) -> MaskedVideo:
        """The frames once more, or others of the file, with their masks if they are wanted."""
        bounds = self.bounds if bounds is None else bounds
        rate, limits = self._frame_rate, self._limits
        return open_masked(self.source, bounds, self.masks, self._grow, stack, masked, rate, limits)

    @cached_property
    def settings(self) -> Settings:
        """All that its restored frames depend on."""
        return settings(self.source, self.options, self.bounds, self.masks)

    @property
    def bits(self) -> int:
        """To which restored frames are kept."""
        return 8 if self.video.reader.bits <= 8 else 16


def restore_masked(
    video: MaskedVideo,
    options: Options,
    progress: Progress,
    track: Track,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Tensor]:
    """As `restore_stream`, of a video whose masks are already dilated, from where the track of its journal ends."""
    if video.masks is not None:
        options = replace(options, dilate=0)
    if track.done:
        read_through(video)
        return track.run(None)
    run = open_run(video.frames, options, progress=progress, masks=video.masks)
    if run is None:
        return iter(())
    if track.is_begun:
        run.resume(track.state())
        progress(run.evaluations)
    return sampling(track.run(run, stop), options, run.lanes)


def read_through(video: MaskedVideo) -> None:
    """What is learnt on the way, when each frame is shown, an output needs also where nothing is left to restore."""
    for _ in video.frames:
        if video.masks is not None:
            next(video.masks, None)


def _within(cuts: str | Sequence[int], reader: VideoReader) -> str | Sequence[int]:
    """The cuts that a reader's range holds, counted from its first frame.

    Raises: UserError as `check_cuts`, and for a cut beyond the file's end, where that is known.
    """
    known = check_cuts(cuts)
    if known is None:
        return cuts
    expected = reader.frames_expected if reader.frames_counted and reader.stop is None else None
    if known and expected is not None and max(known) >= reader.start + expected:
        last = reader.start + expected - 1
        raise UserError(f"cuts has frame {max(known)}, the last of {reader.path} is {last}: count from 0")
    return tuple(sorted(cut - reader.start for cut in known if cut > reader.start))
