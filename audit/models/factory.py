"""Factories: a callable named "package.module:function", imported from the folder of the configuration."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from audit.core import ModelError, Spec, Stopped, suggest
from audit.data.tables import sha256


def made(spec: Spec, base: Path) -> Any:
    """What model.factory builds; raises ModelError where none is named."""
    if spec.model.factory is None:
        raise ModelError(
            f'model.kind = "{spec.model.kind}" needs model.factory, "module:function" beside the configuration'
        )
    return build(spec.model.factory, base)


def build(factory: str, base: Path) -> Any:
    """What the factory returns when it is called without arguments; raises ModelError."""
    module_name, _, function_name = factory.partition(":")
    if not module_name or not function_name:
        raise ModelError(f'a factory must look like "package.module:function", got {factory!r}')
    with _importing_from(base):
        function = _function(module_name, function_name, base)
        try:
            return function()
        except Stopped:
            raise
        except (Exception, SystemExit) as error:
            raise ModelError(f"factory {factory!r} raised {type(error).__name__}: {error}") from error


def file_of(name: str, expected_sha256: str | None, base: Path) -> Path:
    """The file of weights, found and, where a hash is promised, verified; raises ModelError."""
    path = base / name
    if not path.is_file():
        siblings = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ModelError(f"model.weights: {name!r} was not found in {base}{suggest(path.name, siblings)}")
    if expected_sha256 is not None and (found := sha256(path)) != expected_sha256.lower():
        raise ModelError(f"model.sha256: {name!r} should have {expected_sha256}, it has {found}: this is another file")
    return path


def _function(module_name: str, function_name: str, base: Path) -> Any:
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        files = suggest(module_name, [each.stem for each in base.glob("*.py")])
        raise ModelError(f"factory: {module_name!r} cannot be imported from {base}: {error}{files}") from error
    except Exception as error:
        raise ModelError(f"factory: importing {module_name!r} raised {type(error).__name__}: {error}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        what = "has no function" if function is None else f"has a {type(function).__name__}, not a function,"
        raise ModelError(f"factory: {module_name!r} {what} {function_name!r}{suggest(function_name, dir(module))}")
    return function


@contextlib.contextmanager
def _importing_from(base: Path) -> Iterator[None]:
    """Let the modules of a folder be imported, and forget them after: another folder may use the same names.

    Modules that were there before stay or come back, so that neither a notebook nor a library loses one.
    """
    base = base.resolve()
    names = _local_names(base)
    stashed = {
        name: module
        for name, module in sys.modules.items()
        if name.partition(".")[0] in names and not _within(module, base)
    }
    for name in stashed:
        del sys.modules[name]
    kept = {name.partition(".")[0] for name in sys.modules}
    sys.path.insert(0, str(base))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(base))
        for name in list(sys.modules):
            if name.partition(".")[0] in names - kept:
                del sys.modules[name]
        sys.modules.update(stashed)


def _local_names(base: Path) -> frozenset[str]:
    """Modules and packages that lie in the folder, but for names that the standard library or audit itself has."""
    files = {each.stem for each in base.glob("*.py")}
    folders = {each.name for each in base.iterdir() if each.is_dir() and any(each.glob("*.py"))}
    return frozenset((files | folders) - sys.stdlib_module_names - {"audit"})


def _within(module: ModuleType, base: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve().is_relative_to(base)
