"""The documents' pictures: each is made by something that is here, or said why not; what they show is true."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from scripts.figures import ELSEWHERE, FIGURES, PICTURES, commands, drawing, function, wavefront
from tests.documents.command_line import refusal
from warped_diffusion.noise import GaussianField

OWN = {"function", "flow", "guidance", "wavefront"}
HEAVIEST = 150_000
"""Bytes of a picture that is drawn here."""


def made_here() -> set[str]:
    films = {f"{name}{end}.webp" for name in OWN for end in ("", "-film")}
    return films | {drawn.picture for drawn in commands.DRAWN}


def test_every_picture_is_made_by_something():
    assert {path.name for path in PICTURES.iterdir()} == made_here() | set(ELSEWHERE)
    assert {Path(name).stem.removesuffix("-film") for name in made_here()} == set(FIGURES)


def test_every_picture_is_shown():
    text = "".join(page.read_text() for page in PICTURES.parent.glob("*.md"))
    assert set(re.findall(r"\(pictures/([^)]+)\)", text)) == {path.name for path in PICTURES.iterdir()}


@pytest.mark.parametrize("name", sorted(f"{name}{end}.webp" for name in OWN for end in ("", "-film")))
def test_a_picture_is_light_and_a_film_moves(name):
    assert (PICTURES / name).stat().st_size <= HEAVIEST
    with Image.open(PICTURES / name) as picture:
        assert picture.width == drawing.WIDTH
        assert (getattr(picture, "n_frames", 1) > 10) == name.endswith("-film.webp")


@pytest.mark.parametrize("drawn", commands.DRAWN, ids=lambda drawn: drawn.picture)
def test_a_command_that_draws_is_one_that_there_is(drawn):
    assert refusal([word.format(out="out") for word in drawn.command]) is None


@pytest.mark.parametrize(("lanes", "calls"), [(1, 48), (3, 19), (8, 13), (20, 13)])
def test_the_wavefront_is_drawn_as_the_sampler_goes(lanes, calls):
    """n m calls of one lane, n + m - 1 with enough of them; every cell once, after the one above and the one before."""
    frames, steps = wavefront.FRAMES, wavefront.STEPS
    seen = wavefront.schedule(frames, steps, lanes)
    when = {cell: tick for tick, call in enumerate(seen) for cell in call}
    assert len(seen) == calls
    assert sum(map(len, seen)) == len(when) == frames * steps
    assert all(len(call) <= lanes for call in seen)
    for (frame, step), tick in when.items():
        assert step == 0 or when[frame, step - 1] < tick
        assert frame == 0 or when[frame - 1, step] < tick


@pytest.mark.slow
def test_a_figure_is_drawn(tmp_path):
    for path in (*function.make(tmp_path), *wavefront.make(tmp_path)):
        assert path.stat().st_size > 5000


@pytest.mark.slow
def test_a_command_draws(tmp_path):
    (path,) = commands.noise("nearest").make(tmp_path)
    with Image.open(path) as new, Image.open(PICTURES / "noise-nearest.png") as kept:
        assert new.size == kept.size


def test_what_the_film_of_the_function_says():
    """Interpolated half a pixel on in both directions, white noise keeps a quarter of its variance; read, all of it."""
    field = GaussianField(function.CHANNELS, (96, 96), "white", seed=11)
    y, x = torch.meshgrid(torch.arange(80) + 0.5, torch.arange(80) + 0.5, indexing="ij")
    read = field(torch.stack([x, y], -1))
    mean = torch.nn.functional.avg_pool2d(field.grid(), 2, 1)
    assert float(read.var()) == pytest.approx(1, abs=0.03)  # standard error of 51 200 values: 0.006
    assert float(mean.var()) == pytest.approx(0.25, abs=0.01)
