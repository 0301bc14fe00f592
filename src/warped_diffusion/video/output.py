"""Where a restored clip goes: a video file, or pictures."""

from pathlib import Path

from warped_diffusion.errors import UserError
from warped_diffusion.video.encoding import LOSSLESS, VISUALLY_LOSSLESS
from warped_diffusion.video.picture_writer import PictureWriter
from warped_diffusion.video.reader import VideoReader
from warped_diffusion.video.sequence import NUMBER
from warped_diffusion.video.writer import VideoWriter


def open_output(
    path: str | Path,
    like: VideoReader,
    size: tuple[int, int] | None = None,
    *,
    overwrite: bool = False,
    codec: str | None = None,
    quality: str | float = VISUALLY_LOSSLESS,
    alpha: bool = False,
    comment: str | None = None,
    partial: Path | None = None,
) -> VideoWriter | PictureWriter:
    """What writes the frames of a clip made from another.

    Pictures are written where the name has a number's place (frames/%04d.png), is that of a folder that exists, or has
    no ending while the input is of pictures; else a video. Arguments and errors as theirs; a codec or another quality
    than a lossless one, asked for pictures, is a UserError.
    """
    name = Path(path)
    folder = name.is_dir() and not name.suffix
    if not (folder or NUMBER.search(name.name) or (like.files and not name.suffix and not name.is_file())):
        return VideoWriter(
            path,
            like,
            size,
            overwrite=overwrite,
            codec=codec,
            quality=quality,
            alpha=alpha,
            comment=comment,
            partial=partial,
        )
    if codec is not None or quality not in (VISUALLY_LOSSLESS, LOSSLESS):
        raise UserError(f"{path} is for pictures, which are lossless PNG: leave --codec and --quality out")
    return PictureWriter(path, like, size, overwrite=overwrite, alpha=alpha, comment=comment, partial=partial)
