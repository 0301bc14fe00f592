"""When each frame of a clip is shown, exactly."""

from array import array
from fractions import Fraction

FINEST_TICK = 90_000
"""Times are kept to 1/90 000 s or finer, the clock of MPEG."""


class Timeline:
    """When each frame is shown: whole numbers of `time_base`, in which one frame lasts exactly `step`.

    Containers round time stamps: Matroska writes 24000/1001 frames a second as 0, 42, 83, 125 ms. A stamp that agrees
    with the constant rate to one tick of its source is therefore put back on the exact grid, so that the rate comes
    out as it went in; any other, as in clips of variable rate, is kept. So are durations. Stamps always grow.

    Args:
        frame_rate: frames a second; the mean where it varies.
    """

    def __init__(self, frame_rate: Fraction) -> None:
        self.frame_rate = frame_rate
        multiple = -(-FINEST_TICK // frame_rate.numerator)
        self.time_base = Fraction(1, frame_rate.numerator * multiple)
        """Seconds."""
        self.step = frame_rate.denominator * multiple
        self._stamps, self._last = array("q"), self.step

    def add(self, time: Fraction | None, tick: Fraction, duration: Fraction | None = None) -> None:
        """The next frame is shown at `time` seconds, a multiple of `tick` seconds; None if the file does not say.

        duration: seconds, likewise; it counts for the last frame, any other is shown until the next.
        """
        stamp = expected = self[len(self._stamps)]
        if time is not None:
            exact = time / self.time_base
            if self._stamps:
                expected = self._stamps[0] + len(self._stamps) * self.step
            stamp = expected if self._stamps and abs(exact - expected) <= tick / self.time_base else round(exact)
        if self._stamps:
            stamp = max(stamp, self._stamps[-1] + 1)
        self._stamps.append(stamp)
        self._last = self.step
        if duration is not None and duration > 0 and abs(duration / self.time_base - self.step) > tick / self.time_base:
            self._last = max(1, round(duration / self.time_base))

    def finish(self, end: Fraction, tick: Fraction) -> None:
        """There are no more frames: the last is shown until `end`, seconds, if that is later than it begins.

        Both are multiples of `tick` seconds; what agrees with the frame rate to two of them is taken for it.
        """
        rest = round(end / self.time_base) - self[len(self) - 1]
        if rest > 0:
            self._last = self.step if abs(rest - self.step) <= 2 * tick / self.time_base else rest

    def __len__(self) -> int:
        return len(self._stamps)

    def __getitem__(self, index: int) -> int:
        """Stamp of frame `index` >= 0; past the frames added, the frame rate goes on."""
        known = len(self._stamps)
        if index < known:
            return self._stamps[index]
        return (self._stamps[-1] + (index - known + 1) * self.step) if known else index * self.step

    def lasts(self, index: int) -> int:
        """How long frame `index` is shown: until the next one, or as long as the file says of its last."""
        return self._last if index == len(self._stamps) - 1 else self[index + 1] - self[index]
