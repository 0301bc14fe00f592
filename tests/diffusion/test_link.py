"""Links of a frame of which only a part may be pulled, and to frames that are the truth in part."""

import torch

from warped_diffusion.diffusion import DenoisedGuidance, Link, NetworkGuidance
from warped_diffusion.flow import Motion, Warp

SIZE = (20, 24)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_link(**changes):
    motion = Motion.analytic(2, SIZE, shift=(1.3, -0.6), rotation=2.0)
    warp = Warp(motion.forward[0], SIZE)
    return Link(0, warp, motion.visible[0], motion.known[0], **changes)


def box():
    mask = torch.zeros(SIZE)
    mask[6:14, 8:17] = 1
    return mask


def corrected(guidance, link, denoised, reference):
    return guidance.correction(denoised, guidance.prepare(1, [link], "euler"), [reference])


def test_only_free_pixels_are_pulled_and_they_more():
    denoised, reference = randn(3, *SIZE), randn(3, *SIZE, seed=1)
    for guidance in (DenoisedGuidance(), DenoisedGuidance(anchors={"previous": 1.0})):
        whole, part = (corrected(guidance, make_link(free=free), denoised, reference) for free in (None, box()))
        torch.testing.assert_close(part, guidance.in_holes * whole * box(), rtol=1e-5, atol=1e-6)
        assert (part * box()).abs().max() > 0


def test_the_error_counts_only_what_a_free_pixel_can_change():
    """The printed step is divided by its root: what cannot be mended elsewhere must not weaken it."""
    denoised, reference = randn(3, *SIZE), randn(3, *SIZE, seed=1)
    link = make_link(free=box())
    far = reference.clone()
    far[:, :2] += 10
    near = corrected(NetworkGuidance(), link, denoised, reference)
    torch.testing.assert_close(corrected(NetworkGuidance(), link, denoised, far), near)
    free = denoised.clone().requires_grad_()
    link.error(link.residual(free, reference)).backward()
    torch.testing.assert_close(2 * link.pull(link.residual(denoised, reference)), free.grad * box())


def test_the_calibrated_step_does_not_depend_on_the_share_of_the_frame_that_is_free():
    """A difference of one in all free pixels, on a still: each is moved as far, however many there are."""
    still = Motion.analytic(2, SIZE)
    moves = []
    for free in (None, box()):
        one = torch.ones(3, *SIZE) if free is None else free.expand(3, *SIZE)
        link = Link(0, Warp(still.forward[0], SIZE), still.visible[0], still.known[0], free=free)
        moves.append(corrected(NetworkGuidance(), link, one, torch.zeros(3, *SIZE))[:, 8, 10])
    torch.testing.assert_close(moves[0], moves[1])


def test_the_truth_replaces_the_estimate():
    """A still: where the reference is the truth the corrected estimate is the reference, elsewhere it is as ever."""
    still = Motion.analytic(2, SIZE)
    true = torch.zeros(SIZE)
    true[:, 12:] = 1
    denoised, reference = randn(3, *SIZE), randn(3, *SIZE, seed=1)
    links = [
        Link(0, Warp(still.forward[0], SIZE), still.visible[0], still.known[0], true=given) for given in (true, None)
    ]
    guidance = DenoisedGuidance()
    after, ever = (denoised - corrected(guidance, link, denoised, reference) for link in links)
    torch.testing.assert_close(after[..., 12:], reference[..., 12:])
    torch.testing.assert_close(after[..., :12], ever[..., :12])
    weak = denoised - corrected(DenoisedGuidance(strength=0.5), links[0], denoised, reference)
    torch.testing.assert_close(weak[..., 12:], (0.5 + 0.5 * 0.18) * reference[..., 12:] + 0.41 * denoised[..., 12:])


def test_two_references_that_are_the_truth_do_not_overshoot():
    still = Motion.analytic(2, SIZE)
    warp, everywhere = Warp(still.forward[0], SIZE), torch.ones(SIZE)
    links = [
        Link(i, warp, still.visible[0], still.known[0], weight, true=everywhere) for i, weight in ((0, 1.0), (1, 0.5))
    ]
    guidance, denoised = DenoisedGuidance(), randn(3, *SIZE)
    references = [randn(3, *SIZE, seed=1), randn(3, *SIZE, seed=2)]
    after = denoised - guidance.correction(denoised, guidance.prepare(2, links, "euler"), references)
    torch.testing.assert_close(after, references[0])  # the heavier one


def test_one_product_pulls_and_brings_as_two_do():
    residual, reference = randn(3, *SIZE), randn(3, *SIZE, seed=1)
    for link in (make_link(), make_link(free=box())):
        together = link.pulled_and_brought(residual, reference)
        torch.testing.assert_close(together[0], link.pull(residual))
        torch.testing.assert_close(together[1], link.brought(reference))
