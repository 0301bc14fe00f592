"""What a run is told: presets, overrides, and one sentence for each mistake."""

import pytest

from warped_diffusion.errors import UserError
from warped_diffusion.training import read_config
from warped_diffusion.training.config import PRESETS
from warped_diffusion.training.data import PAIRS


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.toml")))
def test_every_preset_is_a_run(preset):
    config = read_config(preset, pictures="here", out="there")
    assert config.batch % config.group == 0
    assert len(config.scales) == len(config.scale_shares)
    assert config.task in PAIRS
    assert all(isinstance(sizes, tuple) for sizes in config.network.values())


def test_overrides_win_unless_they_are_none(tmp_path):
    (tmp_path / "run.toml").write_text('pictures = "a"\nout = "b"\nsteps = 5\nbetas = [0.9, 0.95]\n')
    config = read_config(str(tmp_path / "run.toml"), out="c", steps=None)
    assert (config.pictures, config.out, config.steps, config.betas) == ("a", "c", 5, (0.9, 0.95))


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
