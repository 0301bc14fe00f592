"""What a clip from anywhere must not be able to do: fill the memory, read other files, run anything."""

import ast
import stat
import struct
from fractions import Fraction
from pathlib import Path

import pytest
import torch

import warped_diffusion
from tests.models.tiny import tiny_denoiser
from tests.test_cli import run
from warped_diffusion.errors import UserError
from warped_diffusion.models import embedded
from warped_diffusion.options import Options
from warped_diffusion.restore_video import restore_video
from warped_diffusion.video import Limits, MaskFile, VideoReader, VideoWriter, write_picture

SOURCES = sorted(Path(warped_diffusion.__file__).parent.rglob("*.py"))


@pytest.fixture
def clip(tmp_path) -> Path:
    """Three frames of 16x12."""
    with VideoWriter(tmp_path / "clip.mkv", frame_rate=Fraction(25), size=(12, 16)) as writer:
        for _ in range(3):
            writer.write(torch.rand(3, 12, 16))
    return tmp_path / "clip.mkv"


def test_a_clip_is_bounded_before_it_is_decoded_and_before_it_is_restored(clip, tmp_path):
    with VideoReader(clip, limits=Limits(pixels=16 * 12)) as reader:
        assert len(list(reader)) == 3
    with pytest.raises(UserError, match=r"16x12, 192 pixels, and 191 are allowed.*--max-pixels"):
        VideoReader(clip, limits=Limits(pixels=16 * 12 - 1))
    with pytest.raises(UserError, match=r"restored frame of .* is 32x24"):
        restore_video(clip, tmp_path / "out.mkv", Options(scale=2), limits=Limits(pixels=32 * 24 - 1))
    assert not (tmp_path / "out.mkv").exists()


def test_a_clip_of_too_many_frames_is_stopped(clip):
    with VideoReader(clip, limits=Limits(frames=3)) as reader:
        assert len(list(reader)) == 3
    with VideoReader(clip, limits=Limits(frames=2)) as reader, pytest.raises(UserError, match="more than 2 frames"):
        list(reader)
    with VideoReader(clip, 0, 2, limits=Limits(frames=2)) as reader:  # no more are asked for
        assert len(list(reader)) == 2


def test_a_picture_that_says_it_is_huge_is_refused_unread(tmp_path):
    header = struct.pack(">II5B", 30_000, 30_000, 8, 2, 0, 0, 0)
    (tmp_path / "mask.png").write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + bytes(400))
    with pytest.raises(UserError):
        MaskFile(tmp_path / "mask.png")


@pytest.mark.parametrize("limit", ["--max-pixels", "--max-frames"])
def test_a_limit_below_one_is_a_mistake(clip, tmp_path, monkeypatch, limit):
    assert run(monkeypatch, "restore", clip, tmp_path / "out.mkv", limit, 0) == 2


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile clip.mkv\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nclip.mkv\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/clip.ts\n#EXT-X-ENDLIST\n",
    ],
)
@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8", "list.ffconcat"])
def test_a_list_of_other_files_is_not_followed(clip, tmp_path, text, name):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="not a video that can be decoded"):
        VideoReader(tmp_path / name)


def test_a_file_whose_name_looks_like_a_protocol_is_that_file(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip.rename("concat:clip.mkv")
    with VideoReader("concat:clip.mkv") as reader:
        assert len(list(reader)) == 3


def test_what_is_in_the_making_is_private_and_what_is_made_is_as_any_file(clip, tmp_path):
    writer = VideoWriter(tmp_path / "out.mp4", frame_rate=Fraction(25), size=(12, 16))
    (folder,) = tmp_path.glob(".*.part")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    writer.write(torch.rand(3, 12, 16))
    writer.close()
    (tmp_path / "plain").touch()
    assert (tmp_path / "out.mp4").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert not list(tmp_path.glob(".*.part"))


def test_weights_that_are_no_safetensors_are_refused_and_run_nothing(clip, tmp_path, monkeypatch, capsys):
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return Path.touch, (ran,)

    torch.save({"w": Evil()}, tmp_path / "weights.safetensors")
    assert run(monkeypatch, "restore", clip, tmp_path / "out.mkv", "--model", tmp_path / "weights.safetensors") == 2
    assert "is not a file of embedded weights" in capsys.readouterr().err
    assert not ran.exists()


def called(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: "/".join(path.parts[-2:]))
def test_no_module_unpickles_or_starts_a_shell(path):
    for name, call in called(ast.parse(path.read_text())):
        told = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert not name.startswith(("subprocess.", "os.system", "os.popen", "pickle.load")), name
        assert name not in ("eval", "exec")
        assert told.get("shell") is None
        if name.endswith(("torch.load", "load_state_dict_from_url")):
            assert told.get("weights_only") == "True", f"line {call.lineno}"
        if name in ("np.load", "numpy.load"):
            assert told.get("allow_pickle", "False") == "False", f"line {call.lineno}"


def test_a_model_file_may_be_any_size_but_is_not_trusted_beyond_its_header(clip, tmp_path):
    embedded.save(tiny_denoiser(), tmp_path / "good.safetensors", {})
    data = bytearray((tmp_path / "good.safetensors").read_bytes())
    data[:8] = struct.pack("<Q", 2**60)  # the length of the header
    (tmp_path / "bad.safetensors").write_bytes(data)
    with pytest.raises(UserError):
        embedded.load(tmp_path / "bad.safetensors")


def test_pictures_are_bounded_as_clips_are(tmp_path):
    for number in range(2):
        write_picture(tmp_path / f"{number}.png", torch.rand(3, 12, 16))
    with VideoReader(tmp_path, limits=Limits(pixels=16 * 12)) as reader:
        assert len(list(reader)) == 2
    with pytest.raises(UserError, match=r"16x12, 192 pixels, and 191 are allowed"):
        VideoReader(tmp_path, limits=Limits(pixels=16 * 12 - 1))
    with pytest.raises(UserError, match="more than 1 frames"), VideoReader(tmp_path, limits=Limits(frames=1)) as reader:
        list(reader)
