"""Frames written by a second thread: the same file, no more than a few waiting, and errors told to whoever calls."""

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import av
import pytest
import torch

from tests.video.clips import make_clip, pictures
from warped_diffusion.video import Behind, VideoReader, open_output
from warped_diffusion.video.behind import WAITING

FRAMES = pictures(3 * WAITING, (16, 24))
PATIENCE = 20.0
"""Seconds for another thread to do what takes it a moment."""


def content(file: Path) -> object:
    """The bytes; of Matroska, which has random numbers in its header, the packets."""
    if file.suffix not in (".mkv", ".webm"):
        return file.read_bytes()
    with av.open(file) as container:
        return [(packet.stream_index, packet.pts, packet.dts, bytes(packet)) for packet in container.demux()]


@pytest.mark.parametrize("name", ["out.mp4", "out.ts", "out.mkv", "out.webm", "%03d.png"])
def test_what_is_written_behind_is_to_the_byte_what_is_written_at_once(name, tmp_path):
    source = make_clip(tmp_path / "in.mp4", FRAMES, sound="aac")

    def made(folder: Path, behind: bool) -> dict[str, object]:
        folder.mkdir()
        with ExitStack() as stack:
            reader = stack.enter_context(VideoReader(source))
            writer = stack.enter_context(open_output(folder / name, reader))
            write = stack.enter_context(Behind(writer.write)) if behind else writer.write
            for frame in reader:
                write(frame)
        return {file.name: content(file) for file in folder.iterdir()}

    assert made(tmp_path / "behind", True) == made(tmp_path / "at once", False)


def test_the_caller_goes_on_while_a_frame_is_written_and_waits_when_too_many_are():
    gone_on, written, most = threading.Event(), [], 0

    def write(frame):
        assert gone_on.wait(PATIENCE)
        time.sleep(0.002)
        written.append(frame)

    with Behind(write) as behind:
        for count, frame in enumerate(FRAMES, 1):
            if count == WAITING + 1:
                gone_on.set()  # all before were taken although none was written
            assert count <= WAITING or gone_on.is_set()
            behind(frame)
            most = max(most, count - len(written))
    assert all(map(torch.equal, written, FRAMES))
    assert len(written) == len(FRAMES)
    assert most <= WAITING


@pytest.mark.parametrize("bad", [2, len(FRAMES) - 1])
def test_an_error_is_told_to_the_caller_and_nothing_is_written_after_it(bad):
    tried = []

    def write(frame):
        tried.append(frame)
        if len(tried) == bad + 1:
            raise OSError("no room")

    def hand_over():
        with Behind(write) as behind:
            for frame in FRAMES:
                behind(frame)

    with pytest.raises(OSError, match="no room"):
        hand_over()
    assert len(tried) == bad + 1


def test_after_an_error_of_the_callers_own_what_waits_is_dropped_and_the_thread_is_over():
    go, begun, threads = threading.Event(), threading.Event(), set()

    def write(frame):
        threads.add(threading.current_thread())
        begun.set()
        assert go.wait(PATIENCE)

    def hand_over():
        with Behind(write) as behind:
            for frame in FRAMES[:WAITING]:
                behind(frame)
            assert begun.wait(PATIENCE)
            threading.Timer(0.05, go.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hand_over()
    (thread,) = threads
    assert not thread.is_alive()
