"""A clip whose shots are restored apart, by whoever has time for them: the same as in one piece, whatever is lost."""

import json
import os
import signal
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.models.tiny import tiny_denoiser
from tests.test_batch import options_of
from warped_diffusion import batch, parts
from warped_diffusion.batch import Division, Outcome, clips_of, died, exit_code, in_turn, restore_many
from warped_diffusion.models import embedded
from warped_diffusion.parts import Part, _grouped
from warped_diffusion.storage import _send, place
from warped_diffusion.video import VideoReader, VideoWriter

CUTS = (4, 8)
COUNT = 11
LEVEL = 1 / 255
"""With several lanes, batches hold other frames and kernels round otherwise: by 2e-5, which is a level at most."""


def write_shots(path: Path, cuts: tuple[int, ...] = CUTS, count: int = COUNT) -> None:
    """Patterns that move by a pixel a frame, another one in each shot."""
    torch.manual_seed(0)
    begin, pattern = 0, torch.empty(0)
    with VideoWriter(path, frame_rate=Fraction(25), size=(24, 32), overwrite=True) as writer:
        for index in range(count):
            if index in (0, *cuts):
                begin = index
                pattern = F.interpolate((torch.rand(1, 3, 6, 16) < 0.5).float(), size=(24, 64), mode="bicubic")[0]
            writer.write(pattern[:, :, index - begin : index - begin + 32].clamp(0.05, 0.85))


def dividing(work, clips) -> Iterator[Outcome]:
    """The runner that does one after the other, parts of clips apart."""
    queue, division = deque(replace(clip, apart=True) for clip in clips), Division()
    while queue:
        outcome = work(queue.popleft())
        yield outcome
        if outcome.state == "stopped":
            break
        queue += division.after(outcome)
    yield from division.unfinished()


@pytest.fixture
def folder(tmp_path) -> Path:
    """A clip of three shots, and the weights of a tiny network."""
    write_shots(tmp_path / "a.mp4")
    embedded.save(tiny_denoiser(), tmp_path / "weights.safetensors", {})
    return tmp_path


def outcomes_of(folder: Path, out: str, run=dividing, clip: str = "a.mp4", **asked: object) -> list[Outcome]:
    asked = options_of(folder, **{"lanes": 1, "steps": 2, **asked.pop("options", {})}) | asked
    return list(restore_many(clips_of([folder / clip], folder / out), folder / out, asked, run))


def told(outcomes: list[Outcome]) -> list[str]:
    return [outcome.sentence.split(", the parts")[0] for outcome in outcomes]


THREE = [
    "a.mp4: divided, into 3 parts",
    "a.mp4, frames 0 to 3: restored",
    "a.mp4, frames 4 to 7: restored",
    "a.mp4, frames 8 on: restored",
    "a.mp4: restored",
]


def test_a_clip_in_parts_is_the_clip_in_one_piece_and_nothing_is_left_over(folder):
    outcomes = outcomes_of(folder, "out")
    assert told(outcomes) == THREE
    assert exit_code(outcome for outcome in outcomes if outcome.is_final) == 0
    assert [outcome.frames for outcome in outcomes] == [0, 4, 4, 3, 11]
    assert outcomes[-1].seconds >= sum(outcome.seconds for outcome in outcomes[:-1])
    assert told(outcomes_of(folder, "whole", in_turn)) == ["a.mp4: restored"]
    assert (folder / "out" / "a.mp4").read_bytes() == (folder / "whole" / "a.mp4").read_bytes()
    assert sorted(file.name for file in (folder / "out").iterdir()) == [".restored", "a.mp4", batch.LOG]
    assert told(outcomes_of(folder, "out")) == ["a.mp4: finished before"]
    lines = [json.loads(line) for line in (folder / "out" / batch.LOG).read_text().splitlines()]
    assert [line["part"] for line in lines[1:4]] == ["frames 0 to 3", "frames 4 to 7", "frames 8 on"]


@pytest.mark.parametrize("case", ["masked", "range", "named cuts", "another container", "resampled"])
def test_whatever_a_clip_is_made_of(folder, case):
    asked: dict[str, object] = {}
    if case == "masked":
        embedded.save(tiny_denoiser(task="inpainting"), folder / "weights.safetensors", {})
        asked = {"mask_box": (4, 3, 9, 6), "options": {"task": "inpainting", "scale": None, "dilate": 1, "feather": 1}}
    if case == "range":
        asked = {"bounds": (3, 10)}
    if case == "named cuts":
        asked = {"bounds": (2, None), "options": {"cuts": (1, 5, 7)}}
    if case == "another container":
        write_shots(folder / "a.mkv")
        asked = {"clip": "a.mkv"}
    if case == "resampled":
        asked = {"options": {"noise": "resample", "guidance": "none"}}
    outcomes = outcomes_of(folder, "out", **asked)
    assert outcomes[0].state == "divided"
    assert outcomes[-1].state == outcomes_of(folder, "whole", in_turn, **asked)[0].state == "restored"
    name = str(asked.get("clip", "a.mp4"))
    assert all(map(torch.equal, *(VideoReader(folder / out / name) for out in ("out", "whole"))))
    assert (folder / "out" / name).stat().st_size == (folder / "whole" / name).stat().st_size


def test_with_several_lanes_it_is_the_same_to_a_level(folder):
    write_shots(folder / "a.mkv")
    for out, run in ("out", dividing), ("whole", in_turn):
        assert outcomes_of(folder, out, run, "a.mkv", options={"lanes": 4}, codec="ffv1")[-1].state == "restored"
    with VideoReader(folder / "out" / "a.mkv") as apart, VideoReader(folder / "whole" / "a.mkv") as whole:
        for frame, other in zip(apart, whole, strict=True):
            assert (frame - other).abs().max() <= 1.01 * LEVEL


@pytest.mark.parametrize(("options", "asked"), [({"cuts": "none"}, {}), ({}, {"bounds": (0, 4)}), ({}, "tracked")])
def test_what_has_one_shot_or_one_mask_stays_whole(folder, options, asked):
    if asked == "tracked":
        embedded.save(tiny_denoiser(task="inpainting"), folder / "weights.safetensors", {})
        asked, options = {"mask_box": (4, 3, 9, 6), "track_mask": True}, {"task": "inpainting", "scale": None}
    assert told(outcomes_of(folder, "out", options=options, **asked)) in (
        ["a.mp4: restored"],
        ["a.mp4: restored, the object could not be found from frame 4 of the range on: look at the mask"],
    )


def interrupt_after(count: int):
    """A `progress` that presses Ctrl-C at the evaluation of that number."""
    seen: list[int] = []

    def progress(evaluations: int) -> None:
        seen.append(evaluations)
        if len(seen) == count:
            os.kill(os.getpid(), signal.SIGINT)

    return progress


def test_what_was_stopped_goes_on_in_the_middle_of_a_part_and_whoever_goes_on(folder):
    """Ctrl-C in the second shot's third frame: one runner divided the clip, another one finishes it."""
    outcomes = outcomes_of(folder, "out", progress=interrupt_after(8 + 5))
    assert told(outcomes)[:2] == THREE[:2]
    assert [outcome.state for outcome in outcomes[2:]] == ["stopped", "stopped"]
    assert "2 frames are finished" in outcomes[2].note
    assert "the same command goes on" in outcomes[-1].note
    assert exit_code(outcome for outcome in outcomes if outcome.is_final) == 130
    (refused,) = outcomes_of(folder, "out", in_turn, options={"steps": 1})
    assert "steps 2, not 1" in refused.note
    again: list[int] = []
    assert told(outcomes_of(folder, "out", in_turn, progress=again.append)) == ["a.mp4: restored"]
    assert sum(again) == 2 * COUNT
    assert again[:2] == [8, 5]  # told at once of what was finished, then goes on
    outcomes_of(folder, "whole", in_turn)
    assert (folder / "out" / "a.mp4").read_bytes() == (folder / "whole" / "a.mp4").read_bytes()
    assert not list((folder / "out").glob("*.journal"))


def test_a_part_that_costs_every_worker_costs_none_of_the_whole_clip(folder):
    """Its worker is lost as often as it is tried: the clip is not tried after it, and what others finished is kept."""
    worked = []

    def dying(work, clips):
        def until_dead(clip):
            worked.append(clip.part and clip.part.first)
            return died(clip, "was lost 4 times") if clip.part and clip.part.first == 4 else work(clip)

        return dividing(until_dead, clips)

    outcomes = outcomes_of(folder, "out", dying)
    assert worked == [None, 0, 4, 8]
    assert [outcome.state for outcome in outcomes] == ["divided", "restored", "failed", "restored", "failed"]
    assert outcomes[-1].is_final
    assert outcomes[-1].note.startswith("frames 4 to 7: its process was lost 4 times")
    assert outcomes[-1].note.endswith("parts that are finished are kept: the same command goes on from there")
    assert exit_code(outcome for outcome in outcomes if outcome.is_final) == 1
    again: list[int] = []
    assert told(outcomes_of(folder, "out", progress=again.append)) == THREE
    assert [count for count in again if count > 1][:1] == [8]  # told at once of what was finished
    outcomes_of(folder, "whole", in_turn)
    assert (folder / "out" / "a.mp4").read_bytes() == (folder / "whole" / "a.mp4").read_bytes()


def test_what_was_begun_in_one_piece_is_not_divided(folder):
    (stopped,) = outcomes_of(folder, "out", in_turn, progress=interrupt_after(20))
    assert stopped.state == "stopped"
    assert told(outcomes_of(folder, "out")) == ["a.mp4: restored"]


def test_what_is_wrong_with_a_part_is_told_as_the_clips(folder, monkeypatch):
    """A model that fails in the file's frame 6: the clip is tried, and ends as it would have in one piece."""
    embedded.save(tiny_denoiser(), folder / "weights.safetensors", {})
    finished = parts.Restoration.finished

    def failing(self, index, state, waiting):
        if self.options.shot == 1 and index == 2:
            state = state * torch.nan
        return finished(self, index, state, waiting)

    monkeypatch.setattr(parts.Restoration, "finished", failing)
    outcomes = outcomes_of(folder, "out")
    assert [outcome.state for outcome in outcomes] == ["divided", "restored", "refused", "restored", "refused"]
    assert "frame 6 holds values" in outcomes[2].note
    assert "frame 6 holds values" in outcomes[-1].note
    assert "first-6-frames.mp4 has the frames before" in outcomes[-1].note
    with VideoReader(folder / "out" / "a.first-6-frames.mp4") as reader:
        assert len(list(reader)) == 6
    assert not list((folder / "out").glob("*.journal"))


def test_what_an_output_cannot_be_is_told_before_anything_is_divided(folder):
    (outcome,) = outcomes_of(folder, "out", codec="nonsense")
    assert outcome.state == "refused"
    assert not list((folder / "out").glob("*.journal"))


def test_parts_at_a_url_are_sent_and_joined_elsewhere(folder):
    pytest.importorskip("upath")
    remote = place(f"memory://{folder.name}")
    with (folder / "a.mp4").open("rb") as content:
        _send(content, remote / "in" / "a.mp4")
    out, asked = remote / "out", options_of(folder, lanes=1, steps=2)
    clips = clips_of([remote / "in"], out)
    first = list(restore_many(clips, out, asked | {"progress": interrupt_after(8 + 5)}, dividing))
    assert [outcome.state for outcome in first] == ["divided", "restored", "stopped", "stopped"]
    there = out / "a.mp4.journal"
    assert sorted(folder.name for folder in there.iterdir() if folder.is_dir()) == [
        "part-00000000.journal",
        "part-00000004.journal",
    ]
    again: list[int] = []
    assert told(list(restore_many(clips, out, asked | {"progress": again.append}, dividing))) == THREE
    assert 5 in again  # the second part went on
    outcomes_of(folder, "whole", in_turn)
    assert (out / "a.mp4").read_bytes() == (folder / "whole" / "a.mp4").read_bytes()
    assert not there.exists()


def test_many_shots_become_few_parts_that_hold_all_frames():
    cuts = list(range(3, 1000, 3))
    found = list(_grouped(0, cuts, None, 16))
    assert len(found) <= 1000 / 16 + 1
    assert found[0] == Part(0, 18, 0, (3, 6, 9, 12, 15))
    for part, following in pairwise(found):
        assert part.end == following.first
        assert following.shot == part.shot + len(part.cuts) + 1
    assert found[-1].end is None
    assert sorted([cut for part in found for cut in part.cuts] + [part.first for part in found[1:]]) == cuts


def test_shots_that_share_a_part_are_those_of_the_clip(folder, monkeypatch):
    monkeypatch.setattr(parts, "MOST", 2)
    monkeypatch.setattr(parts.find_parts, "__defaults__", (2,))
    assert told(outcomes_of(folder, "out"))[1:3] == ["a.mp4, frames 0 to 7: restored", "a.mp4, frames 8 on: restored"]
    outcomes_of(folder, "whole", in_turn)
    assert (folder / "out" / "a.mp4").read_bytes() == (folder / "whole" / "a.mp4").read_bytes()
