"""The harness: what it times, what it writes, what it refuses."""

import json
import math
import time

import pytest

from warped_diffusion.bench import harness
from warped_diffusion.bench.harness import Machine, Report, Timing, machine, measure, run_benchmark
from warped_diffusion.bench.real_clips import RealClip
from warped_diffusion.errors import UserError

HERE = Machine("a cpu", 2, 1, 4.0, 0.25, "cpu", "Linux x86_64", {"python": "3.11.7", "torch": "2.13.0"})


def report(**changes):
    fields = {
        "name": "steadiness",
        "columns": ("guidance", "error", "frames"),
        "rows": (("none", 0.0123456, 16), ("a|b", None, 4)),
        "notes": ("PSNR in dB",),
        "command": "warped-diffusion bench steadiness",
        "machine": HERE,
    }
    return Report(**fields | changes)


def test_measure_leaves_the_warm_up_out():
    calls = []

    def slow_at_first():
        calls.append(None)
        time.sleep(0.05 if len(calls) <= 2 else 0.001)

    timing = measure(slow_at_first, warmup=2, repeats=3)
    assert len(calls) == 5
    assert timing.repeats == 3
    assert 0.001 <= timing.minimum <= timing.median <= timing.maximum
    assert timing.minimum < 0.05  # a warm-up call, had it counted as the only quick one, could not be


def test_measure_gives_the_median_of_a_known_clock(monkeypatch):
    ticks = iter([0, 100, 0, 5, 0, 1, 0, 3])  # start and end of a warm-up of 100 s and of calls of 5, 1 and 3 s
    monkeypatch.setattr(harness.time, "perf_counter", lambda: next(ticks))
    assert measure(lambda: None, warmup=1, repeats=3) == Timing(median=3, minimum=1, maximum=5, repeats=3)


def test_measure_refuses_nothing_to_measure():
    with pytest.raises(UserError, match="repeats is 0"):
        measure(lambda: None, repeats=0)


def test_machine_names_what_a_reader_needs():
    here = machine()
    assert here.cpu
    assert here.cores >= 1
    assert here.threads >= 1
    assert here.memory_gib > 0
    assert {"python", "torch", "numpy", "finufft"} <= set(here.versions)


def test_markdown_is_an_aligned_table_with_its_origin():
    assert report().markdown() == (
        "## steadiness\n"
        "\n"
        "`warped-diffusion bench steadiness`\n"
        "\n"
        "| guidance |   error | frames |\n"
        "| -------- | ------: | -----: |\n"
        "| none     | 0.01235 |     16 |\n"
        "| a\\|b     |       – |      4 |\n"
        "\n"
        "- PSNR in dB\n"
        "- a cpu, 2 cores, 1 threads, 4 GiB, load 0.25; Linux x86_64; python 3.11.7, torch 2.13.0\n"
    )


def test_json_keeps_every_digit():
    content = json.loads(report().json())
    assert content["rows"] == [
        {"guidance": "none", "error": 0.0123456, "frames": 16},
        {"guidance": "a|b", "error": None, "frames": 4},
    ]
    assert content["machine"]["versions"]["torch"] == "2.13.0"
    assert content["command"] == "warped-diffusion bench steadiness"


def test_json_is_valid_with_infinite_cells():
    text = report(rows=(("none", math.inf, 1), ("gp", math.nan, 1))).json()
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert [row["error"] for row in content["rows"]] == ["inf", "nan"]


def test_a_row_needs_one_cell_per_column():
    with pytest.raises(ValueError, match="1 cells, the table has 3 columns"):
        report(rows=(("none",),))


def test_run_writes_both_files_and_the_command_that_repeats_them(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "BENCHMARKS", {})

    @harness.benchmark("seeds")
    def seeds(options):
        return Report("seeds", ("seed",), ((options.seed,),))

    done = run_benchmark("seeds", tmp_path / "new" / "folder", pictures=tmp_path, seed=3)
    assert done.command == "warped-diffusion bench seeds --pictures FOLDER --seed 3"
    assert (tmp_path / "new" / "folder" / "seeds.md").read_text() == done.markdown()
    assert json.loads((tmp_path / "new" / "folder" / "seeds.json").read_text())["rows"] == [{"seed": 3}]


def test_the_command_names_each_clip_without_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "BENCHMARKS", {"a": lambda options: Report("a", ("clips",), ((len(options.clip),),))})
    clips = RealClip(tmp_path / "x.mp4"), RealClip(tmp_path / "y.mp4", 24, 72, 2)
    done = run_benchmark("a", clip=clips, frames=8)
    assert done.command == "warped-diffusion bench a --clip x.mp4 --clip y.mp4@24:72/2 --frames 8"
    assert done.rows == ((2,),)


def test_run_names_the_benchmarks_there_are(monkeypatch):
    monkeypatch.setattr(harness, "BENCHMARKS", {"b": None, "a": None})
    with pytest.raises(UserError, match="no benchmark 'speed': choose from a, b"):
        run_benchmark("speed")


def test_two_benchmarks_cannot_share_a_name(monkeypatch):
    monkeypatch.setattr(harness, "BENCHMARKS", {"a": None})
    with pytest.raises(ValueError, match="two benchmarks are called 'a'"):
        harness.benchmark("a")(lambda options: None)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the report into"):
        report().write(tmp_path / "file" / "below")
