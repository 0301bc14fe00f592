"""Guidance against finite differences, least squares and its own invariants."""

from itertools import pairwise

import pytest
import torch

from tests.diffusion.toy import CHANNELS, HEIGHT, WIDTH, ToyDenoiser, moving_clip, randn
from warped_diffusion.diffusion import (
    GUIDANCE,
    SOLVERS,
    DenoisedGuidance,
    FrameInput,
    Link,
    NetworkGuidance,
    get_solver,
    make_guidance,
    sample,
)
from warped_diffusion.diffusion.guidance import Anchor
from warped_diffusion.errors import UserError
from warped_diffusion.flow.kernels import Warp
from warped_diffusion.flow.maps import identity_map

EULER = get_solver("euler")
SIZE = (HEIGHT, WIDTH)


def link_along(positions, reference=0, kernel="lanczos3", known=None, weight=1.0):
    warp = Warp(positions, SIZE, kernel)
    visible = torch.rand(SIZE, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return Link(reference, warp, visible, torch.ones_like(visible) if known is None else known, weight)


def similarity(zoom, dx=0.3, dy=-0.6):
    """x -> zoom x + d about the frame's centre."""
    centre = torch.tensor([(WIDTH - 1) / 2, (HEIGHT - 1) / 2], dtype=torch.float64)
    return (identity_map(*SIZE, dtype=torch.float64) - centre) * zoom + centre + torch.tensor([dx, dy])


@pytest.mark.parametrize("kernel", ["bilinear", "lanczos3"])
@pytest.mark.parametrize(
    ("variant", "factor"), [("literal", 1.0), ("calibrated", (CHANNELS * HEIGHT * WIDTH / 2**16) ** 0.5)]
)
def test_network_step_is_the_gradient_by_finite_differences(kernel, variant, factor):
    r"""(lambda / sqrt e) grad e = 2 lambda grad sqrt(e), along random directions, through one sampled step."""
    lam, s, s_next = 0.7, 1.5, 0.9
    first, second = moving_clip(2, kernel)
    link, denoiser = second.links[0], ToyDenoiser()

    def clip(guidance):
        return list(sample(denoiser, [first, second], [s, s_next], EULER, guidance, lanes=2))

    push = clip(make_guidance("none"))[1] - clip(NetworkGuidance(lam, variant))[1]

    def estimate(frame, u):
        return denoiser(u[None], torch.tensor([s], dtype=torch.float64), {"picture": frame.condition["picture"][None]})[
            0
        ]

    reference = estimate(first, first.start + s * first.noise)

    def root_of_error(u):
        residual = link.warp.apply(estimate(second, u)) - reference
        return (link.visible * link.warp.inside * residual**2).sum().sqrt()

    u = second.start + s * second.noise
    for seed in range(5):
        direction, epsilon = randn(*u.shape, seed=seed), 1e-5
        slope = (root_of_error(u + epsilon * direction) - root_of_error(u - epsilon * direction)) / (2 * epsilon)
        expected = factor * lam * 2 * slope
        torch.testing.assert_close((push * direction).sum(), expected, rtol=1e-7, atol=1e-9)


def test_network_follows_the_previous_frame_only():
    both = moving_clip(3)
    alone = [FrameInput(f.noise, f.condition, tuple(k for k in f.links if k.reference == j - 1), f.start, f.is_key)
             for j, f in enumerate(both)]  # fmt: skip
    assert [len(f.links) for f in both] == [0, 1, 2]
    assert [len(f.links) for f in alone] == [0, 1, 1]
    levels, guidance = [2.0, 1.0, 0.5], make_guidance("network")
    clips = [torch.stack(list(sample(ToyDenoiser(), f, levels, EULER, guidance, 2))) for f in (both, alone)]
    assert torch.equal(*clips)


def test_network_asks_for_a_denoiser_with_gradients():
    frozen = torch.no_grad()(ToyDenoiser())
    with pytest.raises(UserError, match="carries no gradient"):
        list(sample(frozen, moving_clip(2), [1.0, 0.5], EULER, make_guidance("network")))


def correct(guidance, links, denoised, references, solver="euler", frame=9):
    anchors = guidance.prepare(frame, links, solver)
    return denoised - guidance.correction(denoised, anchors, references)


@pytest.mark.parametrize("kernel", ["bilinear", "lanczos3"])
@pytest.mark.parametrize("zoom", [0.5, 0.9, 1.0, 1.8])
def test_denoised_correction_never_raises_the_error(kernel, zoom):
    """At 1.5 times the default too: shrinking by 0.5 gathers 4 pixels in one, and an undivided step would diverge."""
    link, guidance = link_along(similarity(zoom), kernel=kernel), DenoisedGuidance(strength=1.5)
    h, reference = randn(2, CHANNELS, HEIGHT, WIDTH, seed=0)
    errors = [link.error(link.residual(h, reference))]
    for _ in range(30):
        h = correct(guidance, [link], h, [reference])
        errors.append(link.error(link.residual(h, reference)))
    assert all(after < before for before, after in pairwise(errors))


@pytest.mark.parametrize("kernel", ["bilinear", "lanczos3"])
@pytest.mark.parametrize("zoom", [0.5, 0.9, 1.0, 1.8])
def test_denoised_correction_vanishes_at_the_least_squares_solution(kernel, zoom):
    """Its fixed points are the h that minimise e, found here by a dense solver."""
    link = link_along(similarity(zoom), kernel=kernel)
    reference = randn(CHANNELS, HEIGHT, WIDTH, seed=0)
    A = link.warp.apply(torch.eye(HEIGHT * WIDTH, dtype=torch.float64).reshape(-1, *SIZE)).flatten(1).T
    root = link.mask.flatten().sqrt()[:, None]
    best = torch.linalg.lstsq(root * A, root * reference.flatten(1).T, driver="gelsd").solution
    best = best.T.reshape(reference.shape)
    torch.testing.assert_close(correct(DenoisedGuidance(), [link], best, [reference]), best, rtol=0, atol=1e-9)


def test_denoised_correction_stops_where_the_frames_agree():
    h = randn(CHANNELS, HEIGHT, WIDTH, seed=0)
    link = link_along(similarity(1.1))
    assert torch.equal(correct(DenoisedGuidance(), [link], h, [link.warp.apply(h)]), h)


@pytest.mark.parametrize(("solver", "step"), [("euler", 0.36), ("dpmpp-2m", 0.36 / 1.5)])
def test_denoised_step_on_a_still(solver, step):
    """Where A = M = 1 the residual shrinks by the calibrated step times the strength."""
    h, reference = randn(2, CHANNELS, HEIGHT, WIDTH, seed=0)
    link = Link(0, Warp(identity_map(*SIZE, dtype=torch.float64), SIZE, "bilinear"), torch.ones(SIZE), torch.ones(SIZE))
    corrected = correct(DenoisedGuidance(strength=0.5), [link], h, [reference], solver)
    torch.testing.assert_close(corrected - reference, (1 - 0.5 * step) * (h - reference))


def test_the_key_frame_pulls_and_the_previous_frame_does_half_and_half():
    known = torch.zeros(SIZE, dtype=torch.float64)
    known[:, : WIDTH // 2] = 1
    still = identity_map(*SIZE, dtype=torch.float64)
    everything = torch.ones(SIZE, dtype=torch.float64)
    key = Link(2, Warp(still, SIZE), everything, everything)
    previous = Link(8, Warp(still, SIZE), everything, known, weight=0.5)
    of_key, of_previous = DenoisedGuidance().prepare(9, [previous, key], "euler")
    torch.testing.assert_close(of_key.rate, 0.36 * everything)
    assert of_key.blend is None
    torch.testing.assert_close(of_previous.rate, 0.09 * everything)
    torch.testing.assert_close(of_previous.blend, 0.09 * known)


def test_a_blend_at_full_rate_gives_the_reference_where_it_arrives():
    """On a still, h - (h - A^T M ref / A^T M 1) is the reference itself; elsewhere h stays."""
    h, reference = randn(2, CHANNELS, HEIGHT, WIDTH, seed=0)
    visible = torch.ones(SIZE, dtype=torch.float64)
    visible[:4] = 0
    link = Link(8, Warp(identity_map(*SIZE, dtype=torch.float64), SIZE, "lanczos3"), visible, visible)
    anchor = Anchor(link, 0.0, link.known * (link.reach > 0.1))
    corrected = h - DenoisedGuidance().correction(h, [anchor], [reference])
    torch.testing.assert_close(corrected, torch.where(visible > 0, reference, h))


def test_a_key_frame_that_is_the_previous_frame_acts_once():
    key, previous = link_along(similarity(1.0), 8), link_along(similarity(1.0), 8, weight=0.5)
    h, reference = randn(2, CHANNELS, HEIGHT, WIDTH, seed=0)
    once = correct(DenoisedGuidance(), [key], h, [reference])
    assert torch.equal(correct(DenoisedGuidance(), [previous, key], h, [reference]), once)


@pytest.mark.parametrize("kernel", ["bilinear", "lanczos3"])
def test_nothing_is_asked_of_pixels_that_left_the_frame(kernel):
    """Even where `visible` says otherwise: a row of zeros would pull towards black."""
    gone = similarity(1.0, dx=WIDTH / 2)
    link = Link(0, Warp(gone, SIZE, kernel), torch.ones(SIZE, dtype=torch.float64), torch.ones(SIZE))
    h = randn(CHANNELS, HEIGHT, WIDTH, seed=0)
    reference = torch.where(link.warp.inside, link.warp.apply(h), 100.0)
    assert not link.warp.inside.all()
    assert link.error(link.residual(h, reference)) == 0
    assert torch.equal(correct(DenoisedGuidance(), [link], h, [reference]), h)


def test_every_solver_has_a_calibrated_step():
    assert DenoisedGuidance.steps.keys() == SOLVERS.keys()
    with pytest.raises(UserError, match="no calibrated step for the solver 'heun'"):
        DenoisedGuidance().prepare(1, [], "heun")


def test_unusable_options_are_refused():
    with pytest.raises(UserError, match=r"'magic'.*none, network, denoised"):
        make_guidance("magic")
    with pytest.raises(UserError, match="'literal' or 'calibrated', got 'loud'"):
        NetworkGuidance(variant="loud")
    for name in GUIDANCE:
        for strength in (-1.0, float("nan"), float("inf")):
            with pytest.raises(UserError, match="number from 0 up"):
                make_guidance(name, strength)
