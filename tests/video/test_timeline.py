"""The clock of a clip: exact where its rate is constant, true to the file where it is not."""

from fractions import Fraction
from itertools import pairwise

import pytest

from warped_diffusion.video.timeline import FINEST_TICK, Timeline

MILLISECOND = Fraction(1, 1000)


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25), Fraction(1, 2)])
def test_a_frame_lasts_a_whole_number_of_ticks(rate):
    timeline = Timeline(rate)
    assert timeline.step * timeline.time_base == 1 / rate
    assert timeline.time_base <= Fraction(1, FINEST_TICK)
    assert timeline[7] * timeline.time_base == 7 / rate


@pytest.mark.parametrize("start", [Fraction(0), Fraction(123, 1000)])
def test_rounded_stamps_of_a_constant_rate_become_exact(start):
    rate = Fraction(24000, 1001)
    timeline = Timeline(rate)
    for k in range(2000):
        timeline.add(Fraction(round((start + k / rate) * 1000), 1000), MILLISECOND)
    assert all(timeline[k] - timeline[0] == k * timeline.step for k in range(2001))
    assert timeline[0] == round(start / timeline.time_base)


def test_stamps_of_a_variable_rate_are_kept():
    times = [Fraction(t, 1000) for t in (0, 33, 100, 133, 300, 334, 900)]
    timeline = Timeline(Fraction(25))
    for time in times:
        timeline.add(time, MILLISECOND)
    for k, time in enumerate(times):
        assert abs(timeline[k] * timeline.time_base - time) <= timeline.time_base / 2 + MILLISECOND * (time == 0)
    assert timeline[len(times)] == timeline[len(times) - 1] + timeline.step


def test_stamps_always_grow_and_missing_ones_follow_the_rate():
    timeline = Timeline(Fraction(25))
    for time in (Fraction(0), None, Fraction(1, 25), Fraction(1, 25), Fraction(0)):
        timeline.add(time, MILLISECOND)
    stamps = [timeline[k] for k in range(5)]
    assert stamps[1] == timeline.step
    assert all(late > early for early, late in pairwise(stamps))
