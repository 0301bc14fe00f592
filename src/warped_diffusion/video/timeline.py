"""When each frame of a clip is shown, exactly."""

from array import array
from fractions import Fraction

FINEST_TICK = 90_000
"""Times are kept to 1/90 000 s or finer, the clock of MPEG."""


class Timeline:
    """When each frame is shown: whole numbers of `time_base`, in which one frame lasts exactly `step`.

    Containers round time stamps: Matroska writes 24000/1001 frames a second as 0, 42, 83, 125 ms. A stamp that agrees
    with the constant rate to one tick of its source is therefore put back on the exact grid, so that the rate comes
    out as it went in; any other, as in clips of variable rate, is kept. Stamps always grow.

    Args:
        frame_rate: frames a second; the mean where it varies.
    """

    def __init__(self, frame_rate: Fraction) -> None:
        self.frame_rate = frame_rate
        multiple = -(-FINEST_TICK // frame_rate.numerator)
        self.time_base = Fraction(1, frame_rate.numerator * multiple)
        """Seconds."""
        self.step = frame_rate.denominator * multiple
        self._stamps = array("q")

    def add(self, time: Fraction | None, tick: Fraction) -> None:
        """The next frame is shown at `time` seconds, a multiple of `tick` seconds; None if the file does not say."""
        stamp = expected = self[len(self._stamps)]
        if time is not None:
            exact = time / self.time_base
            if self._stamps:
                expected = self._stamps[0] + len(self._stamps) * self.step
            stamp = expected if self._stamps and abs(exact - expected) <= tick / self.time_base else round(exact)
        if self._stamps:
            stamp = max(stamp, self._stamps[-1] + 1)
        self._stamps.append(stamp)

    def __len__(self) -> int:
        return len(self._stamps)

    def __getitem__(self, index: int) -> int:
        """Stamp of frame `index` >= 0; past the frames added, the frame rate goes on."""
        known = len(self._stamps)
        if index < known:
            return self._stamps[index]
        return (self._stamps[-1] + (index - known + 1) * self.step) if known else index * self.step
