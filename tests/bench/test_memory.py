"""The count of live tensors, on allocations whose bytes are known."""

import numpy as np
import pytest
import torch

from warped_diffusion.bench.memory import LiveTensors, peak_memory

MIB = 2**20


def block(mebibytes):
    return torch.zeros(mebibytes * MIB // 4)


def test_the_peak_is_what_is_alive_at_one_time():
    def call():
        kept = block(3)
        for _ in range(5):
            gone = block(2)
            del gone
        return kept

    assert peak_memory(call) == 5 * MIB


def test_views_count_once_and_what_was_there_before_counts_when_read():
    weights = block(4)
    assert peak_memory(lambda: weights.view(2, -1)[0].reshape(-1, 2).t()) == 4 * MIB
    assert peak_memory(lambda: weights + 1) == 8 * MIB
    foreign = torch.from_numpy(np.zeros(MIB, np.uint8))  # made by no operation
    assert peak_memory(lambda: foreign.view(-1)) == MIB


def test_what_automatic_differentiation_keeps_is_alive():
    """Ten sines keep their ten inputs, of which the first is the leaf; without gradients two are there at a time."""

    def call():
        x = leaf
        for _ in range(10):
            x = x.sin()
        return x

    leaf = block(1).requires_grad_()
    assert peak_memory(call) == 11 * MIB
    with torch.no_grad():
        assert peak_memory(call) == 3 * MIB


def test_the_backward_pass_is_counted():
    """y = x^2: the gradient of y, one step of the chain and the gradient of x beside x, y."""
    x = block(1).requires_grad_()

    def call():
        torch.autograd.grad(x.square(), x, block(1))

    forward = peak_memory(lambda: x.square())
    assert forward == 2 * MIB
    assert peak_memory(call) >= 4 * MIB


def test_resized_storages_are_counted_anew():
    with LiveTensors() as counted:
        x = block(1)
        x.resize_(3 * MIB // 4)
        assert counted.live == 3 * MIB
        del x
        assert counted.live == 0
    assert counted.peak == 3 * MIB


def test_nothing_is_left_when_all_is_freed():
    with LiveTensors() as counted:
        for _ in range(100):
            torch.randn(50, 50) @ torch.randn(50, 50)
        assert counted.live == 0
    assert counted.peak == 3 * 50 * 50 * 4


@pytest.mark.gpu
def test_on_a_gpu_the_allocator_is_asked():
    before = torch.cuda.memory_allocated()
    assert peak_memory(lambda: torch.zeros(4 * MIB // 4, device="cuda"), "cuda") == before + 4 * MIB
