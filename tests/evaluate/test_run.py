"""An evaluation is taken up where it was left, loses nothing by what fails, and gives the same in any company."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import warped_diffusion
from tests.evaluate.files import FRAMES, QUICK, SIZE, small, source, write_video, write_weights
from warped_diffusion.errors import UserError
from warped_diffusion.evaluate import tables, work
from warped_diffusion.evaluate.clips import Clip, Source, open_clips
from warped_diffusion.evaluate.measures import MEASURES, FrameMeasure
from warped_diffusion.evaluate.run import evaluate
from warped_diffusion.evaluate.store import read_json, result_folder, results, to_bytes, to_frames
from warped_diffusion.evaluate.ways import ORIGINAL, Way, grid
from warped_diffusion.flow import Motion

SRC = Path(warped_diffusion.__file__).parents[1]
SHIFT = Motion.analytic(FRAMES, (SIZE, SIZE), shift=(2.0, 1.0))
BICUBIC = Way("bicubic")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(autouse=True)
def _few_measures(monkeypatch):
    """The quick ones, where the test runs in this process alone."""
    for name in list(MEASURES):
        if name not in ("mse", "psnr", "warping-pixel-first"):
            monkeypatch.delitem(MEASURES, name)


def restored(out: Path) -> dict[tuple[str, str, str], np.ndarray]:
    """By clip, way and seed."""
    return {path.parts[-4:-1]: np.load(path) for path in sorted(out.glob("clips/*/*/*/restored.npy"))}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def test_results_have_what_was_restored_and_measured(tmp_path, weights):
    evaluate(
        [source("known", SHIFT), source("unknown")], QUICK, [Way(weights, "gp", "white", "none"), BICUBIC], tmp_path
    )
    assert len(restored(tmp_path)) == 2 * 3
    folder = result_folder(tmp_path, "known", "tiny-gp-white-none", 0)
    result = read_json(folder / "result.json")
    frames, truth = to_frames(np.load(folder / "restored.npy")), to_frames(to_bytes(small()))
    assert result["measures"]["mse"] == pytest.approx((frames - truth).double().square().mean((1, 2, 3)).tolist())
    assert result["measures"]["warping-pixel-first"][0] is None
    assert result["frames"] == FRAMES
    assert result["spectrum"] == "white"
    assert result["seconds_per_frame"] > 0
    assert result["flow"] == "known"
    assert read_json(tmp_path / "clips/unknown/clip.json")["flow"] == "fine DIS flow of the original"
    low = np.load(tmp_path / "clips/known/input.npy")
    assert low.shape == (FRAMES, SIZE // 4, SIZE // 4, 3)
    original = read_json(result_folder(tmp_path, "known", ORIGINAL, 0) / "result.json")
    assert original["measures"]["mse"] == [0.0] * FRAMES
    assert original["measures"]["psnr"] == [None] * FRAMES  # infinite


def test_time_is_of_what_a_way_does_and_flow_of_those_that_follow_it(tmp_path, monkeypatch):
    """Finding the motion is made to take a second here, and everything else next to nothing."""
    motion = work.estimate_motion(small(), (SIZE, SIZE), "dis")
    monkeypatch.setattr(work, "estimate_motion", lambda *_: time.sleep(1) or motion)
    copy = {name: lambda clip, *_: clip.frames for name in ("bicubic", "warp-only")}
    monkeypatch.setattr(work, "PEERS", copy)
    evaluate([source("a")], QUICK, [BICUBIC, Way("warp-only")], tmp_path)
    took = {result["slug"]: result["seconds_per_frame"] * FRAMES for result in results(tmp_path)}
    assert took["bicubic"] < 0.5 < 1 <= took["warp-only"]


def test_a_way_gives_the_same_whatever_else_runs(tmp_path, weights):
    way, others = Way(weights, "gp", None, "denoised"), grid([weights], ("fixed", "resample"), guidance=("none",))
    evaluate([source("a")], QUICK, [way], tmp_path / "alone", seeds=2)
    evaluate([source("b"), source("a")], QUICK, [*others, way, BICUBIC], tmp_path / "together", seeds=2)
    alone, together = restored(tmp_path / "alone"), restored(tmp_path / "together")
    assert same(alone, {key: together[key] for key in alone})
    key = ("a", way.slug)
    assert not np.array_equal(alone[(*key, "seed-0")], alone[(*key, "seed-1")])


def test_what_fails_is_a_sentence_and_the_rest_is_there(tmp_path, weights):
    broken = write_weights(tmp_path / "broken.safetensors", broken=True)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "bad.mp4").write_bytes(b"no video")
    write_video(tmp_path / "clips" / "good.mp4")
    clips = open_clips(str(tmp_path / "clips"), FRAMES, SIZE)
    ways = [Way(broken, "gp", None, "none"), Way(weights, "gp", None, "none"), Way("warp-only")]
    seen = []
    evaluate(clips, QUICK, ways, tmp_path / "out", begin=lambda total: seen.append(-total), advance=seen.append)
    content = tables.gather(tmp_path / "out")
    by_name = {entry.get("slug", entry.get("name")): entry["error"] for entry in content["failed"]}
    assert by_name.keys() >= {"bad", "broken-gp-none"}
    assert "bad.mp4" in by_name["bad"]
    assert "frame 0 holds values that are not finite" in by_name["broken-gp-none"]
    assert {row["slug"] for row in content["rows"]} >= {"tiny-gp-none", ORIGINAL}
    assert sum(seen) == 0  # every piece was counted, those that failed too


def test_what_failed_is_tried_again_and_what_is_finished_is_not(tmp_path, weights, monkeypatch):
    ways = [Way(weights, "gp", None, "none"), BICUBIC]
    done = work.restored
    with monkeypatch.context() as patch:
        patch.setattr(work, "restored", lambda case, piece: done(case, piece) if piece.way.is_peer else 1 / 0)
        evaluate([source("a")], QUICK, ways, tmp_path)
    (failed,) = tables.gather(tmp_path)["failed"]
    assert failed["error"] == "ZeroDivisionError: division by zero"
    made = []
    monkeypatch.setattr(work, "restored", lambda case, piece: made.append(piece.way) or done(case, piece))
    evaluate([source("a")], QUICK, ways, tmp_path)
    assert made == ways[:1]
    assert not tables.gather(tmp_path)["failed"]


def test_a_measure_that_comes_later_is_taken_of_what_was_restored_before(tmp_path, weights, monkeypatch):
    way = Way(weights, "gp", None, "none")
    lacking = FrameMeasure("new", "1", "none", lambda restored, _: restored.mean((1, 2, 3)), lambda _: "install it")
    monkeypatch.setitem(MEASURES, "new", lacking)
    evaluate([source("a")], QUICK, [way], tmp_path)
    path = result_folder(tmp_path, "a", way.slug, 0) / "result.json"
    before = read_json(path)
    assert before["missing"] == {"new": "install it"}
    assert "new" not in before["measures"]
    monkeypatch.setitem(MEASURES, "new", dataclasses.replace(lacking, missing=lambda _: None))
    monkeypatch.setattr(work, "restored", lambda *_: pytest.fail("restored again"))
    evaluate([source("a")], QUICK, [way], tmp_path)
    after = read_json(path)
    assert len(after["measures"]["new"]) == FRAMES
    assert after["seconds_per_frame"] == before["seconds_per_frame"]
    assert not after["missing"]


def test_a_folder_of_other_settings_weights_or_clips_is_refused(tmp_path, weights):
    way = Way(weights, "gp", None, "none")
    evaluate([source("a")], QUICK, [way], tmp_path)
    with pytest.raises(UserError, match=r"other settings: scale None \(now 2\), steps 2 \(now 3\)"):
        evaluate([source("a")], dataclasses.replace(QUICK, steps=3, scale=2), [way], tmp_path)
    changed = tmp_path / "tiny.safetensors"
    changed.write_bytes(Path(write_weights(tmp_path / "w.safetensors", broken=True)).read_bytes())
    evaluate([], QUICK, [Way(str(changed), "gp", None, "none")], tmp_path)  # another model is no conflict
    changed.write_bytes(Path(weights).read_bytes())
    with pytest.raises(UserError, match="the weights of"):
        evaluate([], QUICK, [Way(str(changed), "gp", None, "none")], tmp_path)
    other = Source("a", partial(Clip, "a", small().flip(-1)))
    evaluate([other], QUICK, [way, BICUBIC], tmp_path)
    (failed,) = tables.gather(tmp_path)["failed"]
    assert "is of another clip that was called a" in failed["error"]


@pytest.mark.parametrize(("options", "sentence"), [({"seeds": 0}, "seeds is 0"), ({"jobs": 0}, "jobs is 0")])
def test_numbers_that_cannot_be_used_are_one_sentence(tmp_path, options, sentence):
    with pytest.raises(UserError, match=sentence):
        evaluate([], QUICK, [], tmp_path, **options)


def test_holes_go_along_with_a_motion_that_is_known_and_stay_on_the_screen_otherwise():
    still, moved = (work.draw_mask(Clip("name", small(), motion=motion)) for motion in (None, SHIFT))
    assert torch.equal(still[0], still[2])
    assert torch.equal(moved[2, :, 2:, 4:], moved[0, :, :-2, :-4])
    assert not torch.equal(work.draw_mask(Clip("other", small()))[0], still[0])


@pytest.mark.parametrize("motion", [None, SHIFT])
def test_holes_are_neither_next_to_nothing_nor_nearly_all(motion):
    """Of 16 shapes one is near a quarter of the clip, also of those that move out of the picture."""
    shares = [float(work.draw_mask(Clip(name, small(), motion=motion)).mean()) for name in "abcdefgh"]
    assert min(shares) > 0.15
    assert max(shares) < 0.35


def test_inpainting_is_given_the_holes_as_they_are(tmp_path, weights):
    """Outside of them the restored clip is the original, to its 8 bits."""
    settings = dataclasses.replace(QUICK, task="inpainting")
    evaluate([source("a", SHIFT)], settings, [BICUBIC], tmp_path)
    mask = np.load(tmp_path / "clips/a/mask.npy")
    frames, truth = restored(tmp_path)[("a", "bicubic", "seed-0")], np.load(tmp_path / "clips/a/truth.npy")
    assert (frames[~mask] == truth[~mask]).all()
    assert not (frames[mask] == truth[mask]).all()


@pytest.mark.slow
def test_jobs_change_no_result_and_a_process_that_dies_takes_only_its_own(tmp_path, weights):
    ways = [Way(weights, "gp", None, "denoised"), BICUBIC]
    clips = [source("a"), Source("deadly", partial(os._exit, 3)), source("b", SHIFT)]
    evaluate([clips[0], clips[2]], QUICK, ways, tmp_path / "one")
    seen = []
    evaluate(clips, QUICK, ways, tmp_path / "two", jobs=2, advance=seen.append)
    assert same(restored(tmp_path / "one"), restored(tmp_path / "two"))
    assert sum(seen) == 9
    (failed,) = tables.gather(tmp_path / "two")["failed"]
    assert failed["name"] == "deadly"
    assert "ended with code 3" in failed["error"]


def command(tmp_path: Path, weights: str, out: Path, jobs: int) -> list[str]:
    return [
        *(sys.executable, "-m", "warped_diffusion.cli", "evaluate", str(tmp_path / "clips"), "--out", str(out)),
        *("--models", weights, "--schemes", "gp,resample", "--guidance", "none,denoised", "--seeds", "6"),
        *("--size", str(SIZE), "--frames", str(FRAMES), "--steps", "2", "--flow", "dis", "--jobs", str(jobs)),
    ]


def kill_when(arguments: list[str], out: Path, count: int) -> None:
    """Start a command and kill it, with no chance to tidy up, once there are so many results."""
    environment = {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    try:
        while len(list(out.glob("clips/*/*/*/result.json"))) < count:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline, "it does not get on"
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_evaluation_goes_on(tmp_path, weights, jobs):
    for name in ("a", "b"):
        write_video(tmp_path / "clips" / f"{name}.mp4")
    out, ways = tmp_path / "out", grid([weights], ("gp", "resample"), guidance=("none", "denoised"))
    clips = open_clips(str(tmp_path / "clips"), FRAMES, SIZE)
    kill_when(command(tmp_path, weights, out, jobs), out, 5)
    if jobs > 1:
        time.sleep(2)  # the processes at work end with the one that started them
        before = len(restored(out))
        time.sleep(1)
        assert len(restored(out)) == before
    finished = {path: path.stat().st_mtime_ns for path in out.glob("clips/*/*/*/result.json")}
    assert 5 <= len(finished) < 50
    for path in finished:
        json.loads(path.read_text())  # whole, every one
    evaluate(clips, QUICK, ways, out, seeds=6)
    assert all(path.stat().st_mtime_ns == when for path, when in finished.items())
    evaluate(clips, QUICK, ways, tmp_path / "whole", seeds=6)
    assert same(restored(out), restored(tmp_path / "whole"))
    assert len(restored(out)) == 2 * (4 * 6 + 1)
    assert not any("error" in result for result in results(out))
