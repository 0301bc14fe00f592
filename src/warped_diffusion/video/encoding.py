"""How pictures are encoded: by which codec, in what pixels, how well."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from warped_diffusion.errors import UserError
from warped_diffusion.video.color import CHROMA_SITE

Options = dict[str, str]

KINDS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".ts": "mpegts", ".webm": "webm"}
"""Kinds of video file to write, by their ending."""

USUAL = {"webm": "vp9"}
"""The codec of a kind of file, where none is asked for; of all others h264."""

VISUALLY_LOSSLESS, LOSSLESS = "visually-lossless", "lossless"


@dataclass(frozen=True)
class Codec:
    """What an encoder can do.

    Attributes:
        encoder: FFmpeg's name of it.
        kinds: of file that can hold it.
        depths: bits of a component, in rising order; those of pictures of red, green and blue if they are others.
        lossy: the encoder's options for a quality; None if it is always lossless.
        span: of the quality as a number, best first, and the number that looks like the original.
        lossless: the encoder's options for losing nothing; None if it always loses something.
        rgb: its formats of red, green and blue by depth; empty if it has none.
        alpha: its formats with an alpha channel by depth; empty if it has none.
        common: options in any case.
    """

    encoder: str
    kinds: tuple[str, ...]
    depths: tuple[int, ...]
    lossy: Callable[[float], Options] | None
    span: tuple[float, float, float] = (0, 0, 0)
    lossless: Options | None = None
    rgb: dict[int, str] | None = None
    alpha: dict[int, str] | None = None
    common: Options | None = None


def _crf(value: float) -> Options:
    return {"crf": str(value)}


def _x265(parameters: str) -> Options:
    return {"x265-params": f"log-level=none{parameters}"}


def _planar(*depths: int) -> dict[int, str]:
    return {bits: "gbrp" if bits == 8 else f"gbrp{bits}le" for bits in depths}


VIDEO = ("mp4", "mov", "matroska", "mpegts")
CODECS = {
    "h264": Codec(
        "libx264",
        VIDEO,
        (8, 10),
        _crf,
        (0, 51, 16),
        {"qp": "0"},
        {8: "rgb24"},
        # Its macroblock tree gives another stream for the same frames now and then, one thread or many: with it a clip
        # that was broken off would not be the unbroken one's to the last bit.
        common={"preset": "medium", "mbtree": "0", "chroma_sample_location": CHROMA_SITE},
    ),
    "hevc": Codec(
        "libx265",
        VIDEO,
        (8, 10, 12),
        lambda value: _x265(f":crf={value}"),
        (0, 51, 15),
        _x265(":lossless=1"),
        _planar(8, 10, 12),
        common={"preset": "medium", "chroma_sample_location": CHROMA_SITE},
    ),
    "vp9": Codec(
        "libvpx-vp9",
        ("webm", "matroska", "mp4"),
        (8,),
        lambda value: {"crf": str(round(value)), "b": "0"},
        (0, 63, 16),
        {"lossless": "1"},
        _planar(8),
        common={"row-mt": "1", "cpu-used": "2", "chroma_sample_location": CHROMA_SITE},
    ),
    "ffv1": Codec(
        "ffv1",
        ("matroska",),
        (8, 10, 12, 16),
        None,
        lossless={"level": "3", "slicecrc": "1"},
        rgb={8: "bgr0"} | _planar(10, 12, 16),
        alpha={8: "bgra"} | {bits: f"gbrap{bits}le" for bits in (10, 12, 16)},
    ),
    "prores": Codec(
        "prores_ks",
        ("mov", "matroska"),
        (10,),
        lambda value: {"flags": "+qscale", "global_quality": str(round(118 * value))},  # 118: FF_QP2LAMBDA
        (1, 31, 2),
        alpha={10: "yuva444p10le"},
        common={"vendor": "apl0"},
    ),
}
"""By the name that `restore --codec` takes."""


@dataclass(frozen=True)
class Encoding:
    """How one clip is encoded: FFmpeg's encoder, pixel format, options, and the four letters in an MP4 or QuickTime."""

    encoder: str
    pixel_format: str
    options: Options
    tag: str | None = None


def file_kind(path: Path) -> str:
    """The kind of video file that a name asks for.   Raises: UserError for an ending that is none."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise UserError(
            f"{path} should end in one of {', '.join(KINDS)}, or name pictures, such as frames/%04d.png or a folder"
        )
    return kind


def choose_encoding(
    path: Path,
    codec: str | None,
    quality: str | float,
    size: tuple[int, int],
    bits: int = 8,
    alpha: bool = False,
) -> Encoding:
    """How to encode frames of (height, width) for a file.

    Args:
        codec: a name in `CODECS`; None for the usual one of the file's kind.
        quality: "visually-lossless", "lossless", or the encoder's own number; ffv1 is lossless in any case.
        bits: of a component in the input; the output has as many, or the next more that the codec has.
        alpha: whether there is opacity, which is kept where the codec can.
    Raises: UserError for what is not known, or does not go together.
    """
    kind = file_kind(path)
    name = codec or USUAL.get(kind, "h264")
    if name not in CODECS:
        raise UserError(f"no codec {name!r}: give one of {', '.join(CODECS)}")
    chosen = CODECS[name]
    if kind not in chosen.kinds:
        endings = ", ".join(ending for ending, known in KINDS.items() if known in chosen.kinds)
        raise UserError(f"{path} cannot hold {name}: let its name end in {endings}, or choose another --codec")
    lossless = chosen.lossy is None or quality == LOSSLESS
    options = dict(chosen.common or {}) | _quality(name, chosen, quality)
    tag = "hvc1" if name == "hevc" and kind in ("mp4", "mov") else None
    if alpha and chosen.alpha:
        return Encoding(chosen.encoder, _deep_enough(chosen.alpha, bits), options, tag)
    if lossless and chosen.rgb and bits <= max(chosen.rgb):
        encoder = "libx264rgb" if name == "h264" else chosen.encoder
        return Encoding(encoder, _deep_enough(chosen.rgb, bits), options, tag)
    layout = _layout(name, size, lossless)
    formats = {deep: layout if deep == 8 else f"{layout}{deep}le" for deep in chosen.depths}
    return Encoding(chosen.encoder, _deep_enough(formats, bits), options, tag)


def _layout(name: str, size: tuple[int, int], lossless: bool) -> str:
    """Sizes stay exactly as they are: even ones are 4:2:0, which everything plays, odd ones 4:4:4."""
    if name == "prores":
        return "yuv422p"
    return "yuv444p" if lossless or size[0] % 2 or size[1] % 2 else "yuv420p"


def _deep_enough(formats: dict[int, str], bits: int) -> str:
    """The format of so many bits or the next more, else of the most that there are."""
    return formats[min((deep for deep in formats if deep >= bits), default=max(formats))]


def _quality(name: str, codec: Codec, quality: str | float) -> Options:
    if quality == LOSSLESS or (codec.lossy is None and quality == VISUALLY_LOSSLESS):
        if codec.lossless is None:
            raise UserError(f"{name} always loses something: for lossless give --codec ffv1, or h264, hevc or vp9")
        return codec.lossless
    if codec.lossy is None:
        raise UserError(f"{name} is lossless: leave --quality out, got {quality}")
    best, worst, usual = codec.span
    if quality == VISUALLY_LOSSLESS:
        return codec.lossy(usual)
    if isinstance(quality, str) or not best <= quality <= worst:
        raise UserError(
            f"the quality of {name} is {VISUALLY_LOSSLESS}, {LOSSLESS} or a number from {best}, the best, to {worst}, "
            f"got {quality!r}"
        )
    return codec.lossy(quality)
