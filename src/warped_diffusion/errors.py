"""The errors that this library raises on purpose; the command line turns each into one sentence."""


class WarpedDiffusionError(Exception):
    """Anything this library reports by itself. A fault of ours unless it is a `UserError`: exit code 1."""


class UserError(WarpedDiffusionError, ValueError):
    """The input or an option cannot be used as given; the message says what was expected, what came, what to do."""


class Stopped(WarpedDiffusionError):
    """The user broke off what can be gone on with; the message says how. Exit code 130."""


class ShapeError(UserError):
    """A tensor's shape does not fit; the message names the expected and the actual shape."""
