"""The errors that this library raises on purpose; the command line turns each into one sentence."""

from pathlib import Path


class WarpedDiffusionError(Exception):
    """Anything this library reports by itself. A fault of ours unless it is a `UserError`: exit code 1."""


class UserError(WarpedDiffusionError, ValueError):
    """The input or an option cannot be used as given; the message says what was expected, what came, what to do."""


class Stopped(WarpedDiffusionError):
    """The user broke off what can be gone on with; the message says how. Exit code 130."""


class NotFiniteError(UserError):
    """A model made something of a frame that is not numbers; the frames before it are good.

    Args:
        frame: its number, counted from 0.
        kept: the file that has the frames before it, if there is one.
    """

    def __init__(self, frame: int, kept: Path | None = None) -> None:
        self.frame, self.kept = frame, kept
        earlier = "" if kept is None else f" ({kept} has the frames before it)"
        super().__init__(
            f"the model's result for frame {frame} holds values that are not finite{earlier}: try --dtype fp32 or "
            "another model"
        )


class ShapeError(UserError):
    """A tensor's shape does not fit; the message names the expected and the actual shape."""
