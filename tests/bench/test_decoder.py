"""The benchmark of decoders: its codec, its table, on short clips; no figure of the method."""

import importlib

import pytest
import torch

from tests.bench.moving import moving, texture, written
from tests.models.pretrained.checkpoints import save_checkpoint
from warped_diffusion.bench import BENCHMARKS, Options, RealClip
from warped_diffusion.errors import UserError
from warped_diffusion.evaluate.moved import MARGIN

bench = importlib.import_module("warped_diffusion.bench.decoder")  # by its path it is the function

SIZE = (48, 64)
EFFORT = bench.Effort(frames=3, size=SIZE, real_frames=3, ways=(bench.Way(), bench.Way(0.0)))


def report(tmp_path, **options):
    picture = texture(*(length + 2 * MARGIN for length in SIZE))
    clip = RealClip.parse(str(written(tmp_path / "clip.mp4", moving(3))))
    return bench.compare(Options(clip=(clip,), **options), EFFORT, picture)


def test_with_all_cosines_and_no_rounding_to_speak_of_the_stand_in_gives_back_the_picture():
    picture = texture(16, 24)[None] * 2 - 1
    codec = bench.BlockTransform(kept=15, step=1e-6)
    latents = codec.encode(picture)
    assert latents.shape == (1, codec.channels, 2, 3)
    torch.testing.assert_close(codec.decode(latents), picture, rtol=0, atol=1e-5)
    torch.testing.assert_close(latents.square().sum(), picture.square().sum())  # the cosines are orthonormal


def test_the_stand_in_follows_a_motion_of_whole_blocks_alone():
    codec, picture = bench.BlockTransform(), texture(32, 48)[None] * 2 - 1

    def differs(by):
        alone, moved = (codec.decode(codec.encode(part)) for part in (picture[..., :32], picture[..., by : by + 32]))
        return (alone[..., by:] - moved[..., : 32 - by]).abs().max()

    assert differs(8) < 1e-5
    assert differs(3) > 0.05


def test_a_short_run_measures_every_clip_and_draws_it(tmp_path):
    made = report(tmp_path, out=tmp_path / "out")
    names = [row[0] for row in made.rows]
    assert list(dict.fromkeys(names)) == [*bench.MOTIONS, "clip.mp4"]
    for name in bench.MOTIONS:
        table = {row[1]: row for row in made.rows if row[0] == name}
        assert list(table) == ["true clip", "as decoded", str(bench.Way()), str(bench.Way(0.0))]
        assert table[str(bench.Way())][3] < table["as decoded"][3]
        assert table[str(bench.Way(0.0))][2:] == pytest.approx(table["as decoded"][2:], rel=1e-4, abs=1e-4)
    assert len(list((tmp_path / "out").glob("decoder-*.png"))) == 3
    assert "stand-in" in made.notes[1]


def test_a_checkpoints_own_autoencoder_is_measured(tmp_path):
    made = report(tmp_path, model=str(save_checkpoint("sd-inpainting", tmp_path / "checkpoint")))
    assert "own autoencoder, 4 channels, cells of 2 pixels" in made.notes[1]
    assert len(made.rows) == 13
    with pytest.raises(UserError, match="no folder"):
        bench.choose_codec(Options(model=str(tmp_path / "nothing")))


def test_it_is_registered():
    assert BENCHMARKS["decoder"] is bench.decoder
