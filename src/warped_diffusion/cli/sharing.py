"""Commands that have options in common, declared once."""

from collections.abc import Callable
from functools import wraps
from inspect import Signature, signature
from typing import Any, TypeVar

T = TypeVar("T")


def sharing(options: Callable[..., T]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes of a function (asked, *, own parameters) a command that has the parameters of `options` after its own.

    What `options` makes of what they were given is the function's first argument. Typer reads a command's signature, so
    it shows both kinds alike.
    """
    shared = signature(options).parameters

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(signature(command).parameters.values())[1:]

        @wraps(command)
        def joined(**given: Any) -> None:
            asked = options(**{name: given.pop(name) for name in shared})
            command(asked, **given)

        parameters = [*own, *shared.values()]
        joined.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        joined.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return joined

    return decorate
