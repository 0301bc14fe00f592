"""The grid of ways, their names, and the ways of the question whether noise need be warped."""

import pytest

from warped_diffusion.errors import UserError
from warped_diffusion.evaluate.ways import UNWARPED, Way, distinct, grid, without_warping
from warped_diffusion.noise import SCHEMES


@pytest.mark.parametrize(
    ("way", "slug"),
    [
        (Way("embedded", "gp", "white", "denoised"), "embedded-gp-white-denoised"),
        (Way("embedded", "fixed", None, "none"), "embedded-fixed-none"),
        (Way("runs/a b.safetensors", "gp", None, "network", 10), "a_b-gp-network-10-steps"),
        (Way("stabilityai/sdxl", "gp", None, "none"), "sdxl-gp-none"),
        (Way("bicubic"), "bicubic"),
        (Way("warp-only"), "warp-only"),
    ],
)
def test_a_way_has_a_name_for_folders(way, slug):
    assert way.slug == slug
    assert way.is_peer == (way.noise == "-")


def test_the_grid_has_every_combination_once():
    ways = grid(spectra=("white", "squared-exponential"))
    assert len(ways) == len({way.slug for way in ways}) == len(SCHEMES) * 2 * 3
    assert {(way.noise, way.spectrum, way.guidance) for way in ways} >= {("resample", "white", "none")}


def test_without_warping_guidance_stays_on_and_noise_does_not_follow():
    ways = without_warping((5, 10), guidance=("none", "denoised"))
    assert {way.guidance for way in ways} == {"denoised"}
    assert {way.noise for way in ways} == {"gp", *UNWARPED}
    assert {way.steps for way in ways} == {5, 10}
    with pytest.raises(UserError, match="compares guided sampling"):
        without_warping((5,), guidance=("none",))


def test_what_is_not_known_or_not_told_apart_is_one_sentence():
    with pytest.raises(UserError, match="noise 'brown' is not known"):
        grid(schemes=("brown",))
    with pytest.raises(UserError, match="guidance 'x' is not known"):
        grid(guidance=("x",))
    with pytest.raises(UserError, match="two ways are called a-gp-none"):
        distinct([Way("x/a.safetensors", "gp", None, "none"), Way("y/a.safetensors", "gp", None, "none")])
