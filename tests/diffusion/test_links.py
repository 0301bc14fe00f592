"""To which earlier frames a frame is tied, and what is remembered of them."""

import torch

from warped_diffusion.diffusion import DenoisedGuidance
from warped_diffusion.diffusion.links import Links
from warped_diffusion.flow import Motion

SIZE = (12, 16)


def step(**motion):
    made = Motion.analytic(2, SIZE, **motion)
    return made.forward[0], made.backward[0], made.visible[0], made.known[0]


def references(links):
    return [(link.reference, link.weight) for link in links]


def test_a_frame_is_tied_to_the_previous_one_and_the_key_frame_of_its_shot():
    ties, weights = Links(DenoisedGuidance(), SIZE, torch.device("cpu")), DenoisedGuidance().anchors
    shift = step(shift=(0.5, 0.0))
    previous, key = weights["previous"], weights["key"]
    found = [references(ties.advance(given)) for given in (None, shift, shift, None, shift, shift)]
    assert found == [[], [(0, key)], [(1, previous), (0, key)], [], [(3, key)], [(4, previous), (3, key)]]
    assert (ties.index, ties.key_index) == (5, 3)


def test_what_a_link_brings_of_the_truth_is_the_truth_for_the_next_frame():
    """A still: the first frame's hole is right, the second's everywhere; what the first knew stays known."""
    ties, at_rest = Links(DenoisedGuidance(), SIZE, torch.device("cpu")), step()
    right, whole = torch.zeros(SIZE), torch.ones(SIZE)
    right[:, 8:] = 1
    ties.advance(None, right)
    (link,) = ties.advance(at_rest, whole)
    torch.testing.assert_close(link.true, 1 - right)
    assert link.free is whole
    for link in ties.advance(at_rest, whole):
        torch.testing.assert_close(link.true, 1 - right)
