"""Sound that is transcoded, subtitles, chapters, attached files and text, carried into another file."""

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from tests.video.clips import samples
from tests.video.formats import FORMATS, Format, make
from warped_diffusion.video import VideoReader, VideoWriter

LAST_BLOCKS = 3 * 1152  # samples: what encoders of sound add to fill their last blocks, in and out
HEARD_ALIKE = 0.99  # correlation of a sweep through a lossy encoder; at half a millisecond's shift it is below 0.5


def rewrite(source, target, start=None, stop=None, **options):
    with VideoReader(source, start, stop) as reader, VideoWriter(target, reader, **options) as writer:
        for frame in reader:
            writer.write(frame)
    return writer


@pytest.mark.parametrize("start", [None, 5])
@pytest.mark.parametrize(
    ("sound", "ending", "name"),
    [("tta", "mp4", "aac"), ("aac", "webm", "opus"), ("tta", "ts", "aac"), ("tta", "mov", "aac")],
)
def test_sound_that_the_format_cannot_hold_is_transcoded_and_said(tmp_path, sound, ending, name, start):
    source, target = make(tmp_path, Format(".mkv", "libx264", "yuv420p", sound)), tmp_path / f"out.{ending}"
    writer = rewrite(source, target, start)
    assert f"the sound ({sound}) was transcoded to {name}" in str(writer.warning)
    before, after = samples(source)[:, 1920 * (start or 0) :], samples(target)
    after = after[:, transport_delay(target) :] if ending == "ts" else after
    length = min(before.shape[1], after.shape[1])
    assert abs(before.shape[1] - after.shape[1]) <= LAST_BLOCKS
    assert np.corrcoef(before[0, :length], after[0, :length])[0, 1] > HEARD_ALIKE


def transport_delay(path) -> int:
    """Samples from 0 to the first picture of a transport stream, which has no way of beginning at 0."""
    with av.open(path) as container:
        first = next(container.decode(video=0))
        return round(first.pts * first.time_base * 48_000)


SUBTITLES = "1\n00:00:00,100 --> 00:00:00,300\nfirst\n\n2\n00:00:00,500 --> 00:00:00,700\nlast\n"


def with_extras(folder):
    """A clip with subtitles, two chapters, an attached file and text."""
    text = {"title": "A title", "comment": "by hand"}
    kind = replace(FORMATS["mkv, variable rate"], metadata=text, subtitles=SUBTITLES, chapters=("one", "two"))
    return make(folder, kind)


def extras(path):
    with av.open(path) as container:
        lines = [
            (bytes(p), p.pts * p.time_base, p.duration * p.time_base) for p in container.demux(subtitles=0) if p.size
        ]
        chapters = [
            (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"].get("title"))
            for c in container.chapters()
        ]
        attached = [(s.name, s.data) for s in container.streams.attachments]
        text = {key.lower(): value for key, value in container.metadata.items()}
        return lines, chapters, attached, text, [s.metadata.get("language") for s in container.streams.subtitles]


def test_subtitles_chapters_attachments_and_text_go_along(tmp_path):
    source, target = with_extras(tmp_path), tmp_path / "out.mkv"
    writer = rewrite(source, target, comment="restored by a test")
    assert writer.warning is None
    before, after = extras(source), extras(target)
    assert after[:3] == before[:3]
    assert [line for line, *_ in after[0]] == [b"first", b"last"]
    assert after[4] == ["deu"]
    assert (after[3]["title"], after[3]["comment"]) == ("A title", "by hand | restored by a test")


def test_a_range_has_its_part_of_them(tmp_path):
    source, target = with_extras(tmp_path), tmp_path / "out.mkv"
    rewrite(source, target, 5)  # from 0.34 s on
    lines, chapters, *_ = extras(target)
    begin = Fraction(340, 1000)
    assert lines == [(b"last", Fraction(5, 10) - begin, Fraction(2, 10))]
    assert chapters == [(0, Fraction(4, 10) - begin, "one"), (Fraction(4, 10) - begin, Fraction(8, 10) - begin, "two")]


def test_subtitles_that_do_not_fit_are_said(tmp_path):
    writer = rewrite(with_extras(tmp_path), tmp_path / "out.mp4")
    assert "subtitles (subrip) were left out: they would fit into .mkv" in str(writer.warning)
    _, chapters, _, text, _ = extras_of_mp4(tmp_path / "out.mp4")
    assert [title for *_, title in chapters] == ["one", "two"]
    assert text["title"] == "A title"


def extras_of_mp4(path):
    with av.open(path) as container:
        assert not container.streams.subtitles
        chapters = [(c["start"], c["end"], c["metadata"].get("title")) for c in container.chapters()]
        return None, chapters, None, {key.lower(): value for key, value in container.metadata.items()}, None


def test_text_in_another_alphabet_does_not_stop_a_clip(tmp_path):
    source = make(tmp_path, Format(".mp4", "libx264", "yuv420p", metadata={"title": "Caf\u00e9 title"}))
    data = source.read_bytes()
    assert data.count("Caf\u00e9".encode()) == 1
    source.write_bytes(data.replace("Caf\u00e9".encode(), b"Caf\xe9\xe9"))
    assert rewrite(source, tmp_path / "out.mp4").warning is None
