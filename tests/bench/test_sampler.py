"""What guidance costs: the memory that it may take, asserted, and the benchmark on tiny networks."""

import math
import time

import pytest
import torch

from warped_diffusion.bench import Options, run_benchmark
from warped_diffusion.bench.memory import peak_memory
from warped_diffusion.bench.sampler import (
    BETAS,
    BOUND,
    DENOISED,
    NONE,
    SDXL,
    SMALL,
    Effort,
    Figures,
    Paced,
    clip,
    if_it_fits,
    measured,
    rows,
    run,
    unet_case,
    verdicts,
)
from warped_diffusion.diffusion import make_guidance
from warped_diffusion.errors import UserError

TINY = {
    **SMALL,
    "block_out_channels": (16, 16, 16),
    "layers_per_block": 1,
    "transformer_layers_per_block": 1,
    "attention_head_dim": 2,
    "cross_attention_dim": 16,
    "norm_num_groups": 8,
}
WIDE = {
    **TINY,
    "block_out_channels": (320, 32),  # SDXL's 320 features where the cells are
    "down_block_types": SDXL["down_block_types"][:2],
    "up_block_types": SDXL["up_block_types"][-2:],
}


def test_denoised_guidance_takes_at_most_a_tenth_more_memory_than_none():
    """A UNet of many activations for its weights: as many bytes in each latent cell as SDXL in half precision."""
    options, effort, lanes = Options(), Effort(unet=WIDE, latents=32, steps=2), 2
    case = unet_case(options, effort)
    none, denoised, network = (
        peak_memory(lambda name=name: run(case, name, lanes, options, effort)) for name in (NONE, DENOISED, "network")
    )
    assert none > 1.3 * case.weights  # they do not hide what guidance takes
    assert denoised < BOUND * none
    assert network > 1.5 * none  # it keeps what the way back needs


def test_sdxl_is_of_its_published_size():
    """2.6 billion parameters (Podell et al., 2023), to the last one of the public checkpoint."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(**SDXL)
    assert sum(weight.numel() for weight in unet.parameters()) == 2_567_463_684


def test_the_unets_noise_levels_are_those_of_stable_diffusion():
    from diffusers import EulerDiscreteScheduler

    table = unet_case(Options(), Effort(unet=TINY, latents=8)).denoiser.parameterisation.table
    low, high, steps = BETAS
    theirs = EulerDiscreteScheduler(steps, low, high, "scaled_linear").alphas_cumprod.double()
    torch.testing.assert_close(
        table, ((1 - theirs) / theirs).sqrt(), rtol=1e-4, atol=0
    )  # theirs are in single precision


def test_frames_have_the_links_that_a_guidance_asks_for():
    options = Options()
    case = unet_case(options, Effort(unet=TINY, latents=16))

    def references(name):
        frames = clip(case, make_guidance(name), 4, options)
        return [sorted(link.reference for link in frame.links) for frame in frames]

    assert references(NONE) == [[], [], [], []]
    assert references("network") == [[], [0], [1], [2]]
    assert references(DENOISED) == [[], [0], [0, 1], [0, 2]]


def test_guidance_acts_in_the_measured_runs():
    """The states of guided runs differ from those of unguided ones, and are finite."""
    from warped_diffusion.diffusion import get_solver, sample

    options = Options()
    case = unet_case(options, Effort(unet=TINY, latents=16, steps=3))
    outcomes = {}
    for name in (NONE, "network", DENOISED):
        guidance = make_guidance(name)
        frames = sample(case.denoiser, clip(case, guidance, 3, options), case.sigmas, get_solver("euler"), guidance, 2)
        outcomes[name] = torch.stack(list(frames))
        assert outcomes[name].isfinite().all()
    for name in ("network", DENOISED):
        torch.testing.assert_close(outcomes[name][0], outcomes[NONE][0])  # batches differ in size, so in rounding
        assert not torch.allclose(outcomes[name][1:], outcomes[NONE][1:], rtol=1e-3)


def test_only_full_batches_are_timed(monkeypatch):
    clock = iter([0.0, 1.0, 3.0, 7.0, 8.0])
    paced = Paced(lambda noisy, sigma, condition: noisy, torch.device("cpu"))
    with monkeypatch.context() as patched:
        patched.setattr(time, "perf_counter", lambda: next(clock))
        for size in (1, 2, 2, 1, 2):
            paced(torch.zeros(size, 1), torch.zeros(size), {})
    assert paced.seconds(2) == [2, 4]
    figures = Figures(lanes=2, seconds=[2, 4, 6], peak=0)
    assert figures.rate == pytest.approx(2 * 3 / 12)
    assert figures.median == 4


def test_memory_that_does_not_suffice_is_a_row_and_other_errors_are_errors():
    def fails(error):
        raise error

    assert if_it_fits(lambda: fails(torch.cuda.OutOfMemoryError("CUDA out of memory"))) is None
    assert if_it_fits(lambda: torch.empty(2**55)) is None  # what a CPU's allocator really says
    with pytest.raises(RuntimeError, match="another"):
        if_it_fits(lambda: fails(RuntimeError("another")))
    found = {("a", 1): {NONE: Figures(1, [1.0], 2**20), "network": None, DENOISED: Figures(1, [2.0], 2**21)}}
    none, network, denoised = rows(found)
    assert none == ["a", 1, NONE, 1.0, 1000.0, 1.0, 1.0, 1.0]
    assert network == ["a", 1, "network", None, None, None, "out of memory", None]
    assert denoised == ["a", 1, DENOISED, 0.5, 2000.0, 2.0, 2.0, 2.0]


def test_the_bound_is_asked_at_every_number_of_lanes():
    def found(*ratios):
        return {
            ("a", lanes): {NONE: Figures(lanes, [1.0], 100), DENOISED: r and Figures(lanes, [1.0], r)}
            for lanes, r in enumerate(ratios, 1)
        }

    assert [met for _, met in verdicts(found(109, 110), ["a"])] == [True]
    assert [met for _, met in verdicts(found(109, 111), ["a"])] == [False]
    assert [met for _, met in verdicts(found(109, None), ["a"])] == [False]  # unguided it fitted, guided not
    assert verdicts(found(111), []) == []


def test_the_whole_benchmark_on_tiny_networks():
    report = measured(Options(), Effort(unet=TINY, latents=16, enlarged=(32, 48), lanes=(1, 2), steps=3))
    assert len(report.rows) == 3 * 3
    assert {row[0] for row in report.rows} == {"small UNet, float32", "embedded"}
    assert all(math.isfinite(cell) and cell > 0 for row in report.rows for cell in row[3:])
    assert "by lanes" in report.markdown()
    assert "| embedded" in report.markdown()


def test_a_device_that_is_not_there_is_one_sentence():
    with pytest.raises(UserError, match="device 'nonsense' cannot be used here"):
        run_benchmark("sampler", device="nonsense")
