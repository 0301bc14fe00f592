"""The benchmark of data consistency, on few pictures and steps."""

import cv2
import pytest

from tests.bench.test_posterior import pack
from warped_diffusion.bench import BENCHMARKS, Options
from warped_diffusion.bench.consistency import AGREES, ASKED, CASES, MEASURES, SIDE, Case, Figure, judge, rows
from warped_diffusion.errors import UserError


def test_a_short_run_agrees_with_its_inputs_and_draws_them(tmp_path):
    pack(tmp_path, [(SIDE, SIDE), (SIDE, SIDE)])
    report = judge(Options(pictures=tmp_path, out=tmp_path / "out", spectrum="white"), None, steps=3)
    assert [row[0] for row in report.rows[:: len(MEASURES)]] == list(CASES)
    agree = [row for row in report.rows if row[1] == AGREES]
    assert [row[-1] for row in agree] == ["yes", "yes", None]
    assert all(row[2] < 0.2 for row in agree)
    drawn = cv2.imread(str(tmp_path / "out" / "consistency.png"))
    assert drawn.shape == (len(CASES) * (20 + 2 + 2 * 2 * SIDE), 3 * 2 * SIDE, 3)


def test_a_row_passes_if_all_spectra_do():
    case = Case("inpainting", lambda pictures, seed: {}, lambda condition: None, "nothing", bounds=ASKED)
    good, bad = ({name: Figure(value, 0.0) for name in MEASURES} for value in (0.7, 3.0))
    verdicts = [{row[1]: row[-1] for row in rows("task", case, figures)} for figures in ([good, good], [good, bad])]
    detail = next(name for name in MEASURES if name.startswith("high"))
    assert [verdict[detail] for verdict in verdicts] == ["yes", "NO"]
    assert verdicts[0][AGREES] == "NO"


def test_what_it_cannot_do_without_is_asked_for(tmp_path):
    assert "consistency" in BENCHMARKS
    with pytest.raises(UserError, match="needs photographs"):
        judge(Options(), None, 3)
    with pytest.raises(UserError, match="white, squared-exponential, not 'pink'"):
        judge(Options(pictures=tmp_path, spectrum="pink"), None, 3)
