"""What commands have in common: their options, and how what is written there is read."""

from fractions import Fraction
from typing import Annotated

import typer

from warped_diffusion.errors import UserError

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
Task = Annotated[str, typer.Option(help="What was done to the clip.")]
Scale = Annotated[
    int | None,
    typer.Option(help="Factor between the small and the large clip, 2 to 8.", show_default="4 for super-resolution"),
]
Blur = Annotated[
    float | None,
    typer.Option(help="Deviation of the blur in pixels.", show_default="1.5 for deblurring"),
]
Range = Annotated[str, typer.Option("--range", metavar="START:END", help="Frames START up to, not including, END.")]

Mask = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|alpha",
        help="What to fill in, white: a picture, a video or folder with one for each frame, or the alpha channel.",
    ),
]
MaskBox = Annotated[
    str | None, typer.Option(metavar="LEFT,TOP,WIDTH,HEIGHT", help="A box to fill in, in pixels, instead of a mask.")
]


Codec = Annotated[
    str | None,
    typer.Option(help="h264, hevc, vp9, ffv1 or prores.", show_default="h264, or vp9 in a .webm"),
]
Quality = Annotated[
    str,
    typer.Option(metavar="visually-lossless|lossless|NUMBER", help="Of the codec; its own numbers, low is good."),
]
FrameRate = Annotated[
    str | None,
    typer.Option(help="Of a sequence of pictures, frames a second: 24 or 24000/1001.", show_default="25"),
]


def quality_value(text: str) -> str | float:
    """A number, or a word as it is."""
    try:
        value = float(text)
    except ValueError:
        return text
    return int(value) if value.is_integer() else value


def rate_value(text: str | None) -> Fraction | None:
    """A whole, decimal or broken number.   Raises: UserError if it is anything else."""
    try:
        return None if text is None else Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise UserError(f"--frame-rate is a number such as 24, 12.5 or 24000/1001, got {text!r}") from error


def frame_range(text: str) -> tuple[int | None, int | None]:
    """START:END, either of which may be left out.   Raises: UserError if it is anything else."""
    start, colon, end = text.partition(":")
    if not colon or not all(part == "" or part.isdigit() for part in (start, end)):
        raise UserError(f"--range is START:END in frames, for example 24:48 or :48, got {text!r}")
    bounds = int(start) if start else None, int(end) if end else None
    if end and int(end) <= (bounds[0] or 0):
        raise UserError(f"--range {text} holds no frame: END must be larger than START")
    return bounds


def pixels(text: str | None) -> tuple[int, int] | None:
    """WIDTHxHEIGHT as (height, width).   Raises: UserError if it is anything else."""
    if text is None:
        return None
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise UserError(f"--size is WIDTHxHEIGHT in pixels, for example 320x180, got {text!r}")
    return int(height), int(width)


def four_numbers(text: str | None, option: str) -> tuple[int, int, int, int] | None:
    """Four whole numbers.   Raises: UserError if it is anything else."""
    if text is None:
        return None
    try:
        first, second, third, fourth = (int(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"{option} is four whole numbers of pixels, for example 40,30,120,80, got {text!r}") from error
    return first, second, third, fourth


def cut_list(text: str) -> str | tuple[int, ...]:
    """auto, none, or frame numbers.   Raises: UserError if it is anything else."""
    if text in ("auto", "none"):
        return text
    numbers = [part.strip() for part in text.split(",")]
    if not all(number.isdecimal() and int(number) for number in numbers):
        raise UserError(f"--cuts is auto, none or frames from 1 up that begin a shot, for example 48,120, got {text!r}")
    return tuple(map(int, numbers))


def lane_count(text: str) -> int | str:
    if text == "auto" or text.isdigit():
        return text if text == "auto" else int(text)
    raise UserError(f"--lanes is a whole number or auto, got {text!r}")


def tile_side(text: str) -> int | str:
    if text in ("auto", "none") or text.isdigit():
        return int(text) if text.isdigit() else text
    raise UserError(f"--tile is auto, none or pixels a side, for example 512, got {text!r}")


def names(text: str) -> list[str]:
    """What stands between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def numbers(text: str, option: str) -> list[int]:
    """Whole numbers from 1 up between commas.   Raises: UserError if it is anything else."""
    found = names(text)
    if not found or not all(part.isdecimal() and int(part) for part in found):
        raise UserError(f"{option} is a whole number from 1 up, or several with commas between, got {text!r}")
    return [int(part) for part in found]
