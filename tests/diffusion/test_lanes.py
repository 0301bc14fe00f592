"""The number of lanes that is found by trying, on devices whose time and memory are made up."""

import pytest
import torch

from warped_diffusion.diffusion import lanes
from warped_diffusion.diffusion.lanes import BUDGET, GAIN, HELD, REPEATS, Need, fastest, free_memory


class Device:
    """A clock, and batches that take a fixed time and so much for each frame beyond what is done at once."""

    def __init__(self, fixed=0.01, wide=8, memory=64, warm=0.0):
        self.fixed, self.wide, self.memory, self.warm = fixed, wide, memory, warm
        self.now, self.asked = 0.0, []

    def clock(self):
        return self.now

    def evaluate(self, count):
        if count > self.memory:
            raise torch.OutOfMemoryError(f"{count} frames")
        self.now += self.fixed * max(1.0, count / self.wide) + (0.0 if count in self.asked else self.warm)
        self.asked.append(count)

    def fastest(self, most=64, **how):
        return fastest(self.evaluate, most, clock=self.clock, **how)


@pytest.mark.parametrize("wide", [1, 2, 4, 16])
def test_more_lanes_are_taken_as_long_as_the_device_does_them_in_the_same_time(wide):
    device = Device(wide=wide)
    assert device.fastest() == wide
    assert device.asked == [n for n in (1, 2, 4, 8, 16, 32) if n <= 2 * wide for _ in range(1 + REPEATS)]


@pytest.mark.parametrize(("gain", "expected"), [(GAIN * 0.9, 1), (GAIN * 1.1, 2)])
def test_a_gain_that_is_too_small_is_left(gain, expected):
    device = Device()
    device.evaluate = lambda count: setattr(device, "now", device.now + (0.01 if count == 1 else 0.02 / (1 + gain)))
    assert fastest(device.evaluate, 2, clock=device.clock) == expected


def test_what_the_first_batch_of_a_kind_takes_is_not_counted():
    assert Device(wide=8, warm=5.0).fastest() == 8


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError])
def test_memory_that_does_not_suffice_is_a_bound(error):
    device = Device(wide=16, memory=5)
    assert device.fastest() == 4
    assert Device(memory=0).fastest() == 1  # of that the run itself will tell

    def evaluate(count):
        raise error

    assert fastest(evaluate, 8) == 1


def test_other_faults_are_not_hidden():
    def evaluate(count):
        raise ValueError("shape")

    with pytest.raises(ValueError, match="shape"):
        fastest(evaluate, 8)


def test_a_slow_device_is_not_tried_for_long():
    device = Device(fixed=1.0, wide=64)
    chosen = device.fastest(patience=8)
    # Three of 1 s each at 1, 2 and 4 lanes: after the third there have been nine.
    assert chosen == 4
    assert device.now == 9.0
    assert Device(fixed=BUDGET / 100, wide=64).fastest(patience=1) == 64


def test_replicas_begin_with_one_each_and_most_is_held():
    device = Device(wide=64)
    assert device.fastest(most=20, first=3) == 12
    assert set(device.asked) == {3, 6, 12}


def test_lanes_fit_into_free_memory():
    need = Need(each=100, most=16)
    assert need.fitting(None) == 16
    assert need.fitting(int(100 * 5 / HELD)) == 5
    assert need.fitting(0) == 1
    assert need.fitting(10**9) == 16


def test_free_memory_of_the_cpu_is_less_than_all(monkeypatch, tmp_path):
    free = free_memory(torch.device("cpu"))
    assert free is None or 2**20 < free < 2**50
    told = tmp_path / "meminfo"
    told.write_text("MemTotal: 16 kB\nMemAvailable:       3 kB\n")
    monkeypatch.setattr(lanes, "Path", lambda _: told)
    assert free_memory(torch.device("cpu")) == 3072
    told.unlink()
    assert free_memory(torch.device("cpu")) is None
    assert free_memory(torch.device("meta")) is None
