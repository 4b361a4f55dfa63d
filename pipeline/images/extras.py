"""Optional packages, which come with the extras of nightlift."""

from importlib import import_module
from types import ModuleType

from pipeline.errors import MissingExtra, is_want_of_memory


def extra(package: str, name: str, wanted: str) -> ModuleType:
    """Import an optional package, or a module of one, which comes with the extra `name`.

    Raises MissingExtra, which says what it is `wanted` for, and why a package that is there cannot be imported.
    """
    whole = package.partition(".")[0]
    try:
        import_module(whole)
        return import_module(package)
    except Exception as error:  # a broken package raises anything
        if is_want_of_memory(error):
            raise
        message = f'{wanted}, install the extra: pip install "nightlift[{name}]"'
        if not (isinstance(error, ModuleNotFoundError) and error.name == whole):
            reason = " ".join(str(error).split()) or "no reason given"
            message += f" ({whole} is installed, but does not load: {type(error).__name__}: {reason})"
        raise MissingExtra(message) from error
