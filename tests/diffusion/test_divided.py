"""A batch divided among replicas is the batch of one of them."""

import threading

import pytest
import torch

from warped_diffusion.diffusion import Divided
from warped_diffusion.errors import UserError


class Noted:
    """A denoiser of items apart, which notes how many it was given and where it worked."""

    def __init__(self):
        self.sizes, self.threads = [], set()

    def __call__(self, noisy, sigma, condition):
        self.sizes.append(len(noisy))
        self.threads.add(threading.current_thread())
        return noisy * sigma[:, None, None, None] + condition["picture"]


def batch(count):
    generator = torch.Generator().manual_seed(0)
    noisy, picture = torch.randn(2, count, 3, 4, 5, generator=generator)
    return noisy, torch.arange(1.0, count + 1), {"picture": picture}


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_the_parts_are_even_and_in_order(count):
    parts = [Noted() for _ in range(3)]
    with torch.no_grad():
        found = Divided(parts)(*batch(count))
    assert torch.equal(found, Noted()(*batch(count)))
    sizes = [part.sizes[0] for part in parts if part.sizes]
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1
    assert parts[0].threads == {threading.current_thread()}
    assert threading.current_thread() not in parts[1].threads | parts[2].threads


def test_with_a_gradient_the_first_replica_has_all():
    first, second = Noted(), Noted()
    noisy, *rest = batch(4)
    Divided([first, second])(noisy.requires_grad_(), *rest).sum().backward()
    assert (first.sizes, second.sizes) == ([4], [])
    assert noisy.grad is not None


def test_what_one_raises_is_raised():
    def broken(*_):
        raise ValueError("no")

    with torch.no_grad(), pytest.raises(ValueError, match="no"):
        Divided([Noted(), broken])(*batch(2))


def test_none_is_refused():
    with pytest.raises(UserError, match="one replica or more"):
        Divided([])
