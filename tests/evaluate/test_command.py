"""`warped-diffusion evaluate` as a user meets it."""

import json

import pytest

from tests.evaluate.files import FRAMES, SIZE, write_video, write_weights
from tests.test_cli import run
from warped_diffusion.evaluate.measures import MEASURES


@pytest.fixture(autouse=True)
def _few_measures():
    """Restored whole, as their order is that of the reports."""
    everything = dict(MEASURES)
    for name in everything.keys() - {"mse", "psnr", "warping-pixel-first"}:
        del MEASURES[name]
    yield
    MEASURES.clear()
    MEASURES.update(everything)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def quick(weights: str) -> list[object]:
    return ["--models", weights, "--frames", FRAMES, "--size", SIZE, "--flow", "dis"]


def test_reports_and_page_are_made_and_named(tmp_path, weights, monkeypatch, capsys):
    clip, out = write_video(tmp_path / "clip.mp4"), tmp_path / "out"
    chosen = ["--schemes", "gp", "--guidance", "none", "--steps", 2, "--peers", "bicubic"]
    assert run(monkeypatch, "evaluate", clip, "--out", out, *quick(weights), *chosen) == 0
    assert capsys.readouterr().out.split() == [str(out / "report.md"), str(out / "index.html")]
    slugs = {row["slug"] for row in json.loads((out / "report.json").read_text())["rows"]}
    assert slugs == {"tiny-gp-none", "bicubic", "original"}


def test_without_warping_there_is_a_table_against_steps(tmp_path, weights, monkeypatch, capsys):
    clip, out = write_video(tmp_path / "clip.mp4"), tmp_path / "out"
    chosen = ["--no-warping", "--steps", "1,2", "--guidance", "denoised"]
    assert run(monkeypatch, "evaluate", clip, "--out", out, *quick(weights), *chosen) == 0
    text = (out / "report.md").read_text()
    assert "| way | 1 steps | 2 steps |" in text
    assert all(f"| tiny-{noise}-denoised |" in text for noise in ("gp", "fixed", "resample"))


def test_failures_are_a_warning_and_no_end(tmp_path, weights, monkeypatch, capsys):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "bad.mp4").write_bytes(b"no video")
    write_video(tmp_path / "clips" / "good.mp4")
    chosen = ["--schemes", "gp", "--guidance", "none", "--steps", 1]
    assert run(monkeypatch, "evaluate", tmp_path / "clips", "--out", tmp_path / "out", *quick(weights), *chosen) == 0
    assert "warning: 1 failed, named at the end of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (["--schemes", "brown"], "noise 'brown' is not known"),
        (["--peers", "magic"], "peer 'magic' is not known"),
        (["--steps", "2,x"], "--steps is a whole number from 1 up"),
        (["--task", "dance"], "task is one of"),
        (["--motions", "fall"], "motion 'fall' is not known"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(tmp_path, weights, monkeypatch, capsys, option, sentence):
    assert run(monkeypatch, "evaluate", "synthetic:", "--out", tmp_path / "out", *quick(weights), *option) == 2
    assert sentence in capsys.readouterr().err
