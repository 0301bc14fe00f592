"""A step of the sampler reads no number back from the device: a GPU's queue would run dry until it had arrived."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.diffusion.test_wavefront import GUIDANCES
from tests.diffusion.toy import SIGMAS, ToyDenoiser, moving_clip
from tests.test_running import begun
from warped_diffusion.diffusion import get_solver
from warped_diffusion.diffusion.wavefront import Wavefront

WAITS = {"_local_scalar_dense", "is_nonzero", "nonzero", "item", "equal", "masked_select", "unique_dim", "_unique2"}
"""Operators whose result, or the shape of it, the host has to know."""


class NoWaiting(TorchDispatchMode):
    """Notes every operator that makes the host wait."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if name in WAITS or by_mask:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def waits_of(wavefront):
    """Run to the end; what waited in the sampler's steps."""
    tick, watch = wavefront.tick, NoWaiting()

    def watched():
        with watch:
            tick()

    wavefront.tick = watched
    return watch


@pytest.mark.parametrize("guidance", GUIDANCES)
@pytest.mark.parametrize("solver", ["euler", "dpmpp-2m"])
def test_no_step_waits(solver, guidance):
    wave = Wavefront(ToyDenoiser(), iter(moving_clip()), SIGMAS, get_solver(solver), GUIDANCES[guidance], 3)
    watch = waits_of(wave)
    assert len(list(wave.run())) == 7
    assert watch.found == []


HOW = {
    "usual": {},
    "network": {"guidance": "network"},
    "holes": {"task": "inpainting"},
    "network, in holes": {"task": "inpainting", "guidance": "network"},
}


@pytest.mark.parametrize("how", HOW)
def test_no_step_of_a_restoration_waits(how):
    run = begun(lanes=3, **HOW[how])
    watch = waits_of(run.wavefront)
    for _ in run:
        pass
    assert watch.found == []


def test_what_waits_is_seen():
    with NoWaiting() as watch:
        values = torch.rand(3)
        float(values.sum())
        bool((values > 2).any())
        values[values > 0.5]
    assert {"_local_scalar_dense", "index"} <= set(watch.found)
    assert len(watch.found) == 3
