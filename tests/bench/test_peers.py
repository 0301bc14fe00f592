"""The benchmark of peers: its figures, what it asks and what it writes, Real-ESRGAN's place taken by a plain one."""

import importlib
from dataclasses import replace

import pytest
import torch

from tests.bench.moving import moving, written
from tests.models.tiny import tiny_denoiser
from warped_diffusion.bench import BENCHMARKS, Options, RealClip
from warped_diffusion.bench.clips import Effort, Figures
from warped_diffusion.errors import UserError
from warped_diffusion.evaluate.peers import PEERS
from warped_diffusion.models import embedded

peers = importlib.import_module("warped_diffusion.bench.peers")  # by its path it is the function

EFFORT = Effort(frames=4, factors=(4,), steps=2, lanes=2)


def blocks(clip, degraded, task, motion):
    return torch.nn.functional.interpolate(degraded, scale_factor=task.scale, mode="nearest")


@pytest.fixture
def stood_in(monkeypatch):
    monkeypatch.setattr(peers, "missing", lambda: None)
    monkeypatch.setattr(peers, "load", lambda threads: None)
    monkeypatch.setattr(peers, "PEERS", PEERS | {"real-esrgan": blocks})


def test_it_is_registered():
    assert BENCHMARKS["peers"] is peers.peers


GOOD = {
    "original": Figures(0.0010, 0.001, float("inf"), 0.0010, 20.0),
    "real-esrgan": Figures(0.0030, 0.010, 22.0, 0.0010, 19.0, 1.0),
    "ours": Figures(0.0019, 0.004, 22.5, 0.0011, 19.0, 1.2),
}


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({}, set()),
        ({"to_previous": 0.0021}, {0}),
        ({"to_previous": 0.0005}, set()),  # steadier than the original
        ({"psnr": 22.0}, {1}),
    ],
)
def test_ours_is_held_to_each_bound(change, failing):
    table = peers.bound_rows("street", GOOD | {"ours": replace(GOOD["ours"], **change)})
    assert [row[-1] for row in table] == ["NO" if number in failing else "yes" for number in range(2)]


def test_flicker_is_what_the_original_has_not():
    found = {row[1]: row[3] for row in peers.rows("street", GOOD)}
    assert found == pytest.approx({"original": 0, "real-esrgan": 0.0020, "ours": 0.0009})


def test_the_picture_shows_where_most_was_lost(monkeypatch):
    monkeypatch.setattr(peers, "WINDOW", (8, 12))
    lost = torch.zeros(3, 40, 60)
    lost[1, 20:28, 32:44] = -0.5
    assert peers.window(lost) == (slice(20, 28), slice(32, 44))
    assert peers.window(lost[:, :4, :10]) == (slice(0, 4), slice(0, 10))


def test_the_report_and_what_it_leaves(tmp_path, stood_in):
    weights = tmp_path / "weights.safetensors"
    embedded.save(tiny_denoiser(), weights, {})
    path = written(tmp_path / "street.mp4", moving(8), rate=10)
    options = Options(model=str(weights), clip=(RealClip(path, 2),), out=tmp_path / "out", frames=3)
    report = peers.compare(options, EFFORT)
    names = ["original", "bicubic", "warp-only", "real-esrgan", "ours"]
    assert [row[:2] for row in report.rows] == [["street.mp4@2:", name] for name in names]
    assert [row[-1] is None for row in report.rows] == [True, False, False, False, False]
    assert len({row[2] for row in report.rows}) == len(names)  # no two are one
    assert len(report.more["Asked of ours"].rows) == 2
    assert str(tmp_path) not in report.json()
    assert {file.name for file in options.out.iterdir()} == {
        "peers.png",
        *(f"street-2-end-{name}.mp4" for name in names),
    }


def test_without_real_esrgan_nothing_is_begun(monkeypatch):
    monkeypatch.setattr(peers, "missing", lambda: "get it there")
    with pytest.raises(UserError, match="get it there"):
        peers.compare(Options(), EFFORT)
