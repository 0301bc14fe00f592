"""The command that all verbs belong to, and what becomes of their errors."""

import sys

import typer

from warped_diffusion.errors import Stopped, UserError, WarpedDiffusionError

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def main() -> None:
    """Entry point: a user's mistake gives one sentence and exit code 2, a fault of ours 1, a stop 130."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stop:
        print(f"stopped: {stop}", file=sys.stderr)
        sys.exit(130)
    except WarpedDiffusionError as error:
        print(f"fault: {error}", file=sys.stderr)
        sys.exit(1)
