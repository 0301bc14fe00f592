"""The libraries that measure, which are an extra, and the weights of their networks, which nothing here fetches."""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from warped_diffusion.errors import UserError
from warped_diffusion.estimators.raft import weights_path

INSTALL = 'pip install "warped-diffusion[metrics]"'


def load(module: str, user: str) -> ModuleType:
    """The module of that name. Raises: UserError if it, or what it needs in turn, cannot be imported."""
    found = _imported(module)
    if isinstance(found, str):
        raise UserError(f"{user} needs {found}")
    return found


@cache  # what fails would take its seconds again for every clip
def _imported(module: str) -> ModuleType | str:
    """The module, or what is to be said of it or of a package that it is in.

    Packages go first: Python keeps the parts that were imported before one fails, and would then find a part of it.
    """
    package = module.rpartition(".")[0]
    if package and isinstance(lack := _imported(package), str):
        return lack
    try:
        return import_module(module)
    except (ImportError, RuntimeError) as error:  # the latter is torchvision's, where it was built for another torch
        return f"{module}, which cannot be imported here ({error}): {INSTALL}"


def load_with_weights(modules: Sequence[str], url: str, user: str) -> tuple[list[ModuleType], Path]:
    """Modules, and where torch.hub keeps the weights of an address, whose name ends in -HASH and a suffix.

    Raises: UserError with all that is lacking: modules, or weights that are not there or not what the name says (they
        may be pickles, which run code, so they are looked at before they are read).
    """
    found = [_imported(module) for module in modules]
    lacks = [lack for lack in found if isinstance(lack, str)][:1]  # one extra has them all
    path = weights_path(url)
    lacks += _lacking_weights(path, url)
    if lacks:
        raise UserError(f"{user} needs {'; and '.join(lacks)}")
    return [module for module in found if not isinstance(module, str)], path


def _lacking_weights(path: Path, url: str) -> list[str]:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        there = "or set TORCH_HOME to the folder whose hub/checkpoints has it"
        return [f"the weights {shown(path)}, which cannot be read: put {url} there, {there}"]
    if not found.startswith(path.stem.rpartition("-")[2]):
        return [f"the weights {shown(path)}, which are not what their name says: put {url} in their place"]
    return []


def reason(attempt: Callable[[], object]) -> str | None:
    """The message of the UserError that an attempt ends in; None if it succeeds."""
    try:
        attempt()
    except UserError as error:
        return str(error)
    return None


def shown(path: Path) -> str:
    """A path as reports may show it, the home folder as ~."""
    home = Path.home()
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)
