"""The libraries that measure, which are an extra."""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

from warped_diffusion.errors import UserError

INSTALL = 'pip install "warped-diffusion[metrics]"'


def load(module: str) -> ModuleType:
    """The module of that name. Raises: UserError if it, or what it needs in turn, cannot be imported."""
    try:
        return import_module(module)
    except (ImportError, RuntimeError) as error:  # the latter is torchvision's, where it was built for another torch
        raise UserError(f"it needs {module}, which cannot be imported ({error}): {INSTALL}") from error


def lacks(module: str) -> Callable[[object], str | None]:
    """Says, of any clip, why that module is not to be had; None if it is."""

    def lack(context: object = None) -> str | None:
        return reason(lambda: load(module))

    return lack


def reason(attempt: Callable[[], object]) -> str | None:
    """The message of the UserError that an attempt ends in; None if it succeeds."""
    try:
        attempt()
    except UserError as error:
        return str(error)
    return None


def require(lack: str | None) -> None:
    """Raises: UserError with what is lacking, if anything is."""
    if lack is not None:
        raise UserError(lack)
