"""What a value consists of: the parts that decide what it computes, in the same order in every process.

Most objects say it themselves, by the protocol of `pickle` and `copy`. Not so functions and classes, of which
`pickle` stores the name only: here their code counts, unless they belong to an installed library, where the
name, the version and the source file count.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import io
import pickletools
import re
import types
import weakref
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from .installed import is_found, is_library, library_name, release

__all__ = ["parts"]

_PROTOCOL = 4  # of pickle
_MANGLED = re.compile(r"\.___torch_mangle_\d+")

#: Attributes of a module that do not decide what it computes.
_NOT_OF_A_MODULE = {"_compiled_call_impl", "_flat_weight_refs"}

#: Attributes of a traced module that repeat its code, or say how it was traced.
_NOT_OF_A_GRAPH = {
    "_code", "_create_node_hooks", "_deepcopy_hooks", "_erase_node_hooks", "_graph", "_graphmodule_cls_name",
    "_lineno_map", "_prologue_start", "_replace_hooks", "_tracer_cls", "_tracer_extras", "eval", "meta",
    "range_constraints", "shape_env", "train",
}  # fmt: skip


@functools.singledispatch
def parts(value: Any) -> Iterator[Any]:
    """The parts of a value; a `memoryview` among them holds the bytes of numbers.

    A value of any class without a rule of its own is taken apart as `pickle` does it.

    Raises:
        TypeError: the value does not say what it consists of. Other exceptions are those of its class.
    """
    if type(value).__module__.startswith("torch._dynamo."):  # how to compile, not what to compute
        yield type(value).__qualname__
        return
    reduce = copyreg.dispatch_table.get(type(value))
    reduced = value.__reduce_ex__(_PROTOCOL) if reduce is None else reduce(value)
    if isinstance(reduced, str):  # a global object, or a wrapper that has the name of its function
        yield from (library_name(value, reduced), getattr(value, "__wrapped__", None))
        return
    make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    yield from (make, arguments, _in_order(state), list(items or ()), list(pairs or ()))


def _in_order(state: Any) -> Any:
    """Attributes by name: the order in which they were set does not matter.

    A hash of Python, which Transformers keeps in a model, is another number in every process.
    """
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        return state
    return {name: part for name, part in sorted(state.items()) if name != "_original_object_hash"}


@parts.register
def _(value: dict) -> Iterator[Any]:  # type: ignore[type-arg]  # singledispatch needs the class
    if type(value) is not dict:
        yield from parts.dispatch(object)(value)
        return
    for key, part in value.items():
        yield from (key, part)


@parts.register(list)
@parts.register(tuple)
def _(value: Any) -> Iterator[Any]:
    yield from value if type(value) in (list, tuple) else parts.dispatch(object)(value)


@parts.register
def _(value: types.MappingProxyType) -> Iterator[Any]:  # type: ignore[type-arg]  # as above
    yield dict(value)


@parts.register
def _(value: weakref.ref) -> Iterator[Any]:  # type: ignore[type-arg]  # as above
    yield value()


# ---- numbers ------------------------------------------------------------------------------------


@parts.register
def _(value: Tensor) -> Iterator[Any]:
    is_plain = type(value) in (Tensor, nn.Parameter, nn.Buffer) and value.layout == torch.strided
    if not is_plain or value.is_quantized or value.is_nested:
        yield from parts.dispatch(object)(value)
        return
    yield f"{value.dtype}{tuple(value.shape)}"
    flat = value.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    if flat.numel():
        yield flat.view(torch.uint8).numpy().data  # as bytes, because NumPy has no bfloat16
    yield {name: part for name, part in sorted(vars(value).items()) if not name.startswith("_")}


@parts.register
def _(value: torch.storage.TypedStorage) -> Iterator[Any]:
    yield from (str(value.dtype), value._untyped_storage)


@parts.register
def _(value: torch.UntypedStorage) -> Iterator[Any]:
    untyped: Any = value  # torch's stubs lack its methods
    yield torch.empty(0, dtype=torch.uint8).set_(untyped.cpu()).numpy().data


@parts.register
def _(value: np.ndarray) -> Iterator[Any]:
    if type(value) not in (np.ndarray, np.memmap):
        yield from parts.dispatch(object)(value)
        return
    yield f"{value.dtype}{value.shape}"
    if value.dtype.hasobject:
        yield value.ravel().tolist()
    elif value.size:
        yield memoryview(value.tobytes())


# ---- code ---------------------------------------------------------------------------------------


@parts.register
def _(value: types.FunctionType) -> Iterator[Any]:
    if is_found(value):
        yield library_name(value, value.__qualname__)
    elif "_torchdynamo_orig_callable" in vars(value):  # compiled
        yield vars(value)["_torchdynamo_orig_callable"]
    else:
        yield from (value.__qualname__, value.__code__, value.__defaults__, value.__kwdefaults__)
        yield [_content(cell) for cell in value.__closure__ or ()]
        yield _in_order(vars(value))
        yield from _globals(value)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return "an empty cell"


def _globals(function: types.FunctionType) -> Iterator[Any]:
    """The global variables that a function reads, and of modules what their attributes named there hold."""
    code, names = list(_nested(function.__code__)), set[str]()
    for part in code:
        names |= {step.argval for step in dis.get_instructions(part) if step.opname == "LOAD_GLOBAL"}
        names |= {step.argval for step in dis.get_instructions(part) if step.opname == "LOAD_NAME"}
    attributes = {name for part in code for name in part.co_names}
    for name in sorted(names & function.__globals__.keys()):
        used = function.__globals__[name]
        yield name
        if isinstance(used, types.ModuleType):
            yield from _attributes(used, attributes, {id(used)})
        else:
            yield used


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)


def _attributes(module: types.ModuleType, names: set[str], seen: set[int]) -> Iterator[Any]:
    """What the attributes with these names hold; everything in the module if it has none of them."""
    used = sorted(names & vars(module).keys())
    if is_library(module.__name__) or not used:
        yield module
        return
    for name in used:
        part = vars(module)[name]
        yield name
        if not isinstance(part, types.ModuleType):
            yield part
        elif id(part) not in seen:
            yield from _attributes(part, names, seen | {id(part)})


@parts.register
def _(value: types.ModuleType) -> Iterator[Any]:
    if is_library(value.__name__):
        yield f"{value.__name__} {release(value.__name__)}"
    else:
        yield {name: part for name, part in sorted(vars(value).items()) if not name.startswith("__")}


@parts.register
def _(value: types.CodeType) -> Iterator[Any]:  # without the names of the file and of local variables
    yield from (value.co_code, value.co_names, value.co_consts, getattr(value, "co_exceptiontable", b""))
    yield from (value.co_argcount, value.co_posonlyargcount, value.co_kwonlyargcount, value.co_flags)


@parts.register
def _(value: types.MethodType) -> Iterator[Any]:
    yield from (value.__self__, value.__func__)


@parts.register
def _(value: type) -> Iterator[Any]:
    if is_found(value):
        yield library_name(value, value.__qualname__)
        return
    yield from (value.__qualname__, type(value), value.__bases__)
    for name, part in sorted(vars(value).items()):
        # what Python adds to a class has a name with underscores, and is no function
        if name != "_abc_impl" and (not name.startswith("__") or isinstance(part, types.FunctionType)):
            yield from (name, part)


@parts.register
def _(value: property) -> Iterator[Any]:
    yield from (value.fget, value.fset, value.fdel)


@parts.register(staticmethod)
@parts.register(classmethod)
def _(value: Any) -> Iterator[Any]:
    yield value.__func__


@parts.register
def _(value: functools.cached_property) -> Iterator[Any]:  # type: ignore[type-arg]  # as above
    yield value.func


@parts.register(types.MemberDescriptorType)
@parts.register(types.GetSetDescriptorType)
def _(value: Any) -> Iterator[Any]:
    yield value.__name__


# ---- models -------------------------------------------------------------------------------------


@parts.register
def _(value: nn.Module) -> Iterator[Any]:
    if "_torchdynamo_orig_callable" in vars(value):  # compiled
        yield value._orig_mod
        return
    yield type(value)
    yield from _module_attributes(value, _NOT_OF_A_MODULE)


@parts.register
def _(value: fx.GraphModule) -> Iterator[Any]:
    yield from (type(value).__bases__, value.code)
    yield dict(sorted(value.graph.python_code("self").globals.items()))
    yield from _module_attributes(value, _NOT_OF_A_MODULE | _NOT_OF_A_GRAPH)


def _module_attributes(module: nn.Module, left_out: set[str]) -> Iterator[Any]:
    """The attributes of a module, private ones too: torch keeps weights, modules and hooks there."""
    for name, part in sorted(vars(module).items()):
        if name not in left_out and "state_dict" not in name:
            yield from (name, _without_numbers(part) if name.startswith("_") and "hooks" in name else part)


def _without_numbers(hooks: Any) -> Any:
    """Hooks in their order: torch numbers them by how many were registered in this process before."""
    return list(hooks.values()) if isinstance(hooks, dict) else hooks


@parts.register(torch.jit.ScriptModule)
@parts.register(torch.jit.ScriptFunction)
def _(value: Any) -> Iterator[Any]:
    """The whole program, as a file of it holds it."""
    buffer = io.BytesIO()
    torch.jit.save(value, buffer)
    with zipfile.ZipFile(buffer) as file:
        for entry in file.infolist():
            if entry.filename.endswith(".pkl"):
                yield [_without_mangling(step) for _, step, _ in pickletools.genops(file.read(entry))]
            elif entry.filename.endswith(".py"):
                lines = _without_mangling(file.read(entry).decode()).splitlines()
                constants = {line for line in lines if ": Final[" in line}  # torch writes them in any order
                yield from (constants, [line for line in lines if line not in constants])
            elif not entry.filename.endswith((".debug_pkl", "serialization_id")):
                yield file.read(entry)


def _without_mangling(text: Any) -> Any:
    """Without the part of a class name that counts how many classes were compiled in this process before."""
    return _MANGLED.sub("", text) if isinstance(text, str) else text


@parts.register(torch._ops.OpOverload)
@parts.register(torch._ops.OpOverloadPacket)
def _(value: Any) -> Iterator[Any]:
    yield str(value)
