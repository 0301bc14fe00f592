"""What a run is told: presets, overrides, and one sentence for each mistake."""

import pytest

from warped_diffusion.errors import UserError
from warped_diffusion.training import read_config, read_overrides
from warped_diffusion.training.config import PRESETS
from warped_diffusion.training.data import PAIRS


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.toml")))
def test_every_preset_is_a_run(preset):
    config = read_config(preset, pictures="here", out="there")
    assert len(config.scales) == len(config.scale_shares)
    assert config.task in PAIRS
    assert all(isinstance(sizes, tuple) for sizes in config.network.values())


def test_overrides_win_unless_they_are_none(tmp_path):
    (tmp_path / "run.toml").write_text('pictures = "a"\nout = "b"\nsteps = 5\nbetas = [0.9, 0.95]\n')
    config = read_config(str(tmp_path / "run.toml"), out="c", steps=None)
    assert (config.pictures, config.out, config.steps, config.betas) == ("a", "c", 5, (0.9, 0.95))


def test_overrides_may_be_texts_as_a_command_line_gives_them():
    given = read_overrides(["--weight-decay", "0.1", "--betas=0.9,0.95", "--rough", "true", "--spectra", "white"])
    config = read_config("embedded-sr", pictures="a", out="b", **given, batch="4")
    chosen = (config.weight_decay, config.betas, config.rough, config.spectra, config.batch)
    assert chosen == (0.1, (0.9, 0.95), True, ("white",), 4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--learning-rate", "1"],
            "training has no option '--learning-rate': give --KEY VALUE, KEY one of accumulate,",
        ),
        (["steps", "1"], "training has no option 'steps'"),
        (["--steps"], "--steps is given no value: give --steps VALUE"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_sentence(words, message):
    with pytest.raises(UserError, match=message):
        read_overrides(words)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 2.5}, "steps is 2.5: it is a whole number"),
        ({"steps": "many"}, "steps is 'many': it is a whole number"),
        ({"steps": True}, "steps is True: it is a whole number"),
        ({"rate": "1e-"}, "rate is '1e-': it is a number"),
        ({"rough": "maybe"}, "rough is 'maybe': it is true or false"),
        ({"pictures": 3}, "pictures is 3: it is a text"),
        ({"betas": [0.9]}, r"betas is \[0.9\]: it is a list of 2, each a number"),
        ({"schedule": "linear"}, "schedule is 'linear': it is one of cosine, constant"),
        ({"network": "deep"}, "network is 'deep': it is a table"),
        ({"keep": 0}, "keep is 0: it is 1 or more"),
        ({"workers": -1}, "workers is -1: it is 0 or more"),
        ({"rate": 0}, "rate is 0.0: it is more than 0"),
        ({"ema": 1.5}, "ema is 1.5: it is a share, from 0 to 1"),
        ({"task": "colouring"}, "task is colouring: there are super-resolution, inpainting, clean-up"),
        ({"spectra": ["white", "pink"]}, "spectra is pink: there are white, squared-exponential"),
        ({"spectra": []}, "spectra is empty"),
        ({"scales": [2, 4]}, "scales names 2 factors and scale_shares 7 shares"),
    ],
)
def test_a_value_that_no_run_can_have_is_one_sentence(values, message):
    with pytest.raises(UserError, match=f"^{message}"):
        read_config("embedded-sr", **({"pictures": "a", "out": "b"} | values))


def test_one_factor_needs_no_share():
    assert read_config("embedded-sr", pictures="a", out="b", scales=[8]).scale_shares == (1.0,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('pictures = "a"\nout = "b"\nlearning_rate = 1\n', "keys that training does not know: learning_rate"),
        ("steps = 5\n", "training needs out and pictures: give --out --pictures"),
        ("steps = = 5\n", "is not valid TOML"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence(tmp_path, text, message):
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_config(str(tmp_path / "run.toml"))


def test_a_missing_file_or_preset_names_the_presets():
    with pytest.raises(UserError, match=r"no configuration 'nowhere\.toml': give .* one of the presets .*embedded-sr"):
        read_config("nowhere.toml")
    with pytest.raises(UserError, match="no configuration 'nothing'"):
        read_config("nothing")
