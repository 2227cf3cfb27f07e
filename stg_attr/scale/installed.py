"""Functions, classes and modules of installed libraries: their name and release stand for their code."""

from __future__ import annotations

import functools
import hashlib
import sys
import sysconfig
from pathlib import Path
from typing import Any

__all__ = ["is_found", "is_library", "library_name", "release"]

_STANDARD = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
_INSTALLED = {"site-packages", "dist-packages"}  # folders of installed libraries
_IN_THE_MANIFEST = {"stg_attr", "torch"}  # which holds their releases


def is_found(value: Any) -> bool:
    """Whether an installed library has this function or class under its name."""
    found: Any = sys.modules.get(value.__module__) if is_library(value.__module__) else None
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value


def library_name(value: Any, name: str) -> str:
    """The name of a function, a class or an object, with its module and the release of this."""
    module = getattr(value, "__module__", None) or type(value).__module__
    return f"{module}.{name} {release(module)}"


@functools.cache
def is_library(module: str | None) -> bool:
    """Whether a module belongs to Python, to torch, to this package or to an installed library."""
    top = (module or "builtins").partition(".")[0]
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    if top in _IN_THE_MANIFEST or top in sys.builtin_module_names:
        return True
    return file.startswith(_STANDARD) or not _INSTALLED.isdisjoint(Path(file).parts)


@functools.cache
def release(module: str) -> str:
    """The version of the library, and the source file of the module, which a user may have changed."""
    top, file = module.partition(".")[0], getattr(sys.modules.get(module), "__file__", None) or ""
    is_known = top in _IN_THE_MANIFEST or top in sys.builtin_module_names
    if is_known or (file.startswith(_STANDARD) and _INSTALLED.isdisjoint(Path(file).parts)):
        return ""
    source = Path(file).read_bytes() if file.endswith(".py") else b""
    return f"{getattr(sys.modules.get(top), '__version__', '')} {hashlib.sha256(source).hexdigest()}"
