"""What options come to: presets in the place of steps and solver."""

import pytest

from warped_diffusion.errors import UserError
from warped_diffusion.options import PRESETS, Options, settled, unguided_steps
from warped_diffusion.provenance import describe


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_it_stands_for(name):
    chosen = PRESETS[name]
    options = settled(Options(task="super-resolution", scale=4, preset=name))
    assert options == Options(task="super-resolution", scale=4, **vars(chosen))
    assert settled(options) == options
    assert f"--steps {chosen.steps}" in describe(options)
    assert (
        settled(Options(preset=name, steps=chosen.steps, solver=chosen.solver, guided=chosen.guided)).steps
        == chosen.steps
    )


@pytest.mark.parametrize("wrong", [{"steps": 13}, {"solver": "dpmpp-2m"}, {"guided": 0.3}])
def test_a_preset_that_is_contradicted_is_refused(wrong):
    with pytest.raises(UserError, match="give one or the other"):
        settled(Options(preset="draft", **wrong))


def test_an_unknown_preset_is_told_the_names():
    with pytest.raises(UserError, match="draft, standard, best"):
        settled(Options(preset="fast"))


def test_the_share_that_is_guided_is_of_the_last_steps():
    assert [unguided_steps(share, 11) for share in (0, 0.5, 1)] == [11, 6, 0]
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(UserError, match="guided is the share"):
            unguided_steps(wrong, 11)
