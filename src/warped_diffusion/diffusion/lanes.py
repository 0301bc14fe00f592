"""How many frames go into one batch: as memory allows, and as long as more of them make the device faster."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

GAIN = 0.05
"""Twice as many lanes are taken where they raise the rate of frames by this share or more."""

REPEATS = 2
"""Batches that are timed at a number of lanes, after one to warm up; the fastest counts."""

BUDGET = 1.0
"""Seconds that trying may take at least, however fast the first batch was."""

HELD = 0.8
"""Share of the free memory that lanes may take: allocators leave gaps, and others want some as well."""

OUT_OF_MEMORY = (MemoryError, torch.OutOfMemoryError)


@dataclass(frozen=True)
class Need:
    """What lanes take: bytes of memory each, and the most that are of any use."""

    each: int
    most: int

    def fitting(self, free: int | None) -> int:
        """How many fit into so many bytes, one at least; None for memory that nothing is known of."""
        return self.most if free is None else max(1, min(self.most, int(HELD * free) // max(1, self.each)))


def is_tried(device: torch.device) -> bool:
    """Whether a device's best number is found by trying: a CPU's is known (`options.choose_lanes`), and is the same."""
    return device.type != "cpu"


def free_memory(device: torch.device) -> int | None:
    """Bytes that can be had on a device; None where the system does not say."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch's allocator keeps to hand out again is free as well.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type != "cpu":
        return None
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # another system than Linux
        return None


def fastest(
    evaluate: Callable[[int], object],
    most: int,
    first: int = 1,
    patience: int = 20,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """The number of lanes from which on twice as many are hardly faster, by trying: `first`, twice that, and so on.

    Memory that does not suffice is a bound like `most`. Where it does not even for `first`, that is the answer, and
    whoever samples with it will be told.

    Args:
        evaluate: makes one batch of so many frames, and waits until it is there.
        most: lanes that are not to be exceeded.
        patience: no larger batch is tried once all took as long as so many of the `first` ones, and `BUDGET`.
        clock: tells seconds.
    """
    chosen, best, lanes = first, 0.0, first
    spent, allowed = 0.0, BUDGET
    while lanes <= most and spent < allowed:
        try:
            seconds = _seconds(evaluate, lanes, clock)
        except OUT_OF_MEMORY:
            break
        rate, spent = lanes / seconds, spent + (1 + REPEATS) * seconds
        allowed = max(allowed, patience * seconds) if lanes == first else allowed
        if rate < best * (1 + GAIN):
            break
        chosen, best = lanes, rate
        lanes *= 2
    return chosen


def _seconds(evaluate: Callable[[int], object], lanes: int, clock: Callable[[], float]) -> float:
    evaluate(lanes)
    taken = []
    for _ in range(REPEATS):
        began = clock()
        evaluate(lanes)
        taken.append(clock() - began)
    return max(min(taken), 1e-9)
