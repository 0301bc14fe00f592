"""Means and standard errors by hand, the paper's figures, and what a report says of what is missing or failed."""

import json
import math
import tomllib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from warped_diffusion.errors import UserError
from warped_diffusion.evaluate import tables
from warped_diffusion.evaluate.measures import MEASURES, SetMeasure
from warped_diffusion.evaluate.settings import Settings, settle
from warped_diffusion.evaluate.store import result_folder, write_arrays, write_json
from warped_diffusion.evaluate.ways import Way

GP = Way("embedded", "gp", "squared-exponential", "none")
FIXED = Way("embedded", "fixed", "white", "denoised")


def put(out: Path, clip: str, way: Way, seed: int, measures: dict | None = None, **more: object) -> Path:
    folder = result_folder(out, clip, way.slug, seed)
    header = {"clip": clip, "way": asdict(way), "slug": way.slug, "seed": seed, "spectrum": way.spectrum}
    found = {"seconds_per_frame": 1.0, "frames": 3, "measures": measures or {}, "features": [], "missing": {}}
    write_json(folder / "result.json", {**header, **found, "lacking": [], "flow": "known", **more})
    return folder


@pytest.fixture
def out(tmp_path) -> Path:
    settle(tmp_path, Settings(), [])
    for name in ("a", "b"):
        about = {"name": name, "caption": "", "frames": 3, "size": [8, 16], "input_size": [2, 4], "flow": "known"}
        write_json(tmp_path / "clips" / name / "clip.json", about)
    return tmp_path


def test_means_go_over_frames_then_seeds_then_clips_and_errors_over_all_of_these(out):
    """Clip a: seeds of means 3 and 5; clip b: one of mean 10, where the first frame has no value, one that failed."""
    put(out, "a", GP, 0, {"mse": [2.0, 4.0]})
    put(out, "a", GP, 1, {"mse": [5.0, 5.0]})
    put(out, "b", GP, 0, {"mse": [None, 9.0, 11.0]})
    put(out, "b", GP, 1, error="it broke")
    (row,) = [row for row in tables.gather(out)["rows"] if row["measure"] == "mse"]
    assert row["value"] == (4 + 10) / 2
    spread = math.sqrt(((3 - 6) ** 2 + (5 - 6) ** 2 + (10 - 6) ** 2) / 2)  # about their own mean, 6
    assert row["error"] == pytest.approx(spread / math.sqrt(3))
    assert row["count"] == 3
    assert row["slug"] == "embedded-gp-squared-exponential-none"


def test_one_value_has_no_standard_error(out):
    put(out, "a", GP, 0, {"mse": [2.0]})
    rows = {row["measure"]: row for row in tables.gather(out)["rows"]}
    assert rows["mse"]["error"] is None
    assert rows["seconds-per-frame"]["value"] == 1.0


def test_measures_of_a_set_take_all_clips_of_a_seed_together(out, monkeypatch):
    """Its figure is the largest feature of all clips: 5 and 9 of the two seeds."""

    def largest(features):
        return float(max(array["x"].max() for array in features))

    fake = SetMeasure("fid", "1", "lower", lambda *_: {}, largest)
    monkeypatch.setitem(MEASURES, "fid", fake)
    for clip, seed, value in (("a", 0, 3.0), ("b", 0, 5.0), ("a", 1, 9.0), ("b", 1, 1.0)):
        folder = put(out, clip, GP, seed, features=["fid"])
        write_arrays(folder / "features.npz", {"fid/x": np.array([[value]])})
    (row,) = [row for row in tables.gather(out)["rows"] if row["measure"] == "fid"]
    assert row["value"] == 7
    assert row["error"] == pytest.approx(2.0)  # |9 - 5| / 2
    assert row["count"] == 2


def test_curves_are_means_frame_by_frame(out):
    put(out, "a", GP, 0, {"mse": [None, 2.0, 4.0]})
    put(out, "b", GP, 0, {"mse": [None, 6.0]})
    assert tables.gather(out)["curves"] == {"mse": {GP.slug: [None, 4.0, 4.0]}}


def test_what_is_missing_everywhere_is_named_with_the_way_to_get_it_and_never_a_number(out):
    put(out, "a", GP, 0, {"mse": [1.0]}, missing={"lpips": "put its weights there", "psnr": "no"})
    put(out, "a", FIXED, 0, {"mse": [1.0], "psnr": [20.0]}, missing={"lpips": "put its weights there"})
    content = tables.gather(out)
    assert content["missing"] == {"lpips": "put its weights there"}
    assert not [row for row in content["rows"] if row["measure"] == "lpips"]
    text = tables.write_report(out)[1].read_text()
    assert "- lpips: put its weights there" in text


def test_what_failed_is_in_the_report(out):
    put(out, "a", GP, 0, {"mse": [1.0]})
    put(out, "a", FIXED, 2, error="the model broke")
    write_json(out / "clips" / "c" / "clip.json", {"name": "c", "error": "no video"})
    text = tables.write_report(out)[1].read_text()
    assert "- c: no video" in text
    assert "- a, embedded-fixed-white-denoised, seed 2: the model broke" in text


def test_the_paper_stands_beside_the_way_that_is_its_own(out):
    put(out, "a", GP, 0, {"warping-pixel-first": [None, 0.25], "ssim": [0.5]})
    put(out, "a", FIXED, 0, {"warping-pixel-first": [None, 0.75], "ssim": [0.5]})
    text = tables.write_report(out)[1].read_text()
    lines = [line for line in text.splitlines() if line.startswith("| GP Warping")]
    assert lines[0].startswith("| GP Warping | paper | 0.812 ± 0.337 |")
    assert lines[1].startswith(f"| GP Warping | {GP.slug} | 0.25 |")
    assert len(lines) == 2
    assert "Table 2 of the paper" not in text  # which is of inpainting


def test_figures_against_steps_have_a_table_of_their_own(out):
    for steps, value in ((5, 0.5), (10, 0.25)):
        for noise in ("gp", "fixed"):
            put(out, "a", Way("embedded", noise, None, "denoised", steps), 0, {"psnr": [value + (noise == "gp")]})
    text = tables.write_report(out)[1].read_text()
    at = text.index("psnr against steps")
    assert "| way | 5 steps | 10 steps |" in text[at:]
    assert "| embedded-gp-denoised | 1.5 | 1.25 |" in text[at:]


def test_an_empty_folder_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="holds no evaluation"):
        tables.write_report(tmp_path)


def published() -> dict:
    return tomllib.loads(tables.PUBLISHED.read_text(encoding="utf-8"))


def test_the_papers_figures_are_whole():
    """Its tables have 4, 7 and 10 rows; what it says of them in words holds of the figures."""
    one, two, three = published()["tables"]
    assert [len(table["rows"]) for table in (one, two, three)] == [4, 7, 10]
    for table in (one, two, three):
        for row in table["rows"]:
            spread = {"ssim", "lpips", "mse", "clip-text", "clip-image"}
            assert set(row["errors"]) == (spread if table is one else set(row["values"]))
            assert set(row["values"]) == spread | {"fid", "inception-score"} | (
                set() if table is one else {"warping-first"}
            )
    for table in (two, three):
        by_method = {row["method"]: row["values"]["warping-first"] for row in table["rows"]}
        ours = by_method.pop("Warped Diffusion")
        assert ours < min(by_method.values())
    assert three["rows"][-1]["errors"]["warping-first"] == 0.363
    assert two["rows"][4]["values"]["clip-image"] == 0.910


def test_the_report_is_json_without_numbers_that_json_does_not_have(out):
    put(out, "a", GP, 0, {"mse": [1.0]})
    path, _ = tables.write_report(out, "a machine")
    assert json.loads(path.read_text())["machine"] == "a machine"


def test_the_documents_print_the_papers_figures_as_the_data_has_them():
    text = (Path(__file__).parents[2] / "docs" / "results.md").read_text()
    for table in published()["tables"]:
        for row in table["rows"]:
            lines = [line for line in text.splitlines() if line.startswith(f"| {row['method']} |")]
            assert any(is_of(line, row) for line in lines)


def is_of(line: str, row: dict) -> bool:
    """Whether a line holds all figures of a row, with three decimals, in order."""
    found = [part.strip() for part in line.split("|")[2:-1]]
    errors = row["errors"]
    return found == [
        f"{value:.3f}" + (f" ± {errors[name]:.3f}" if name in errors else "") for name, value in row["values"].items()
    ]
