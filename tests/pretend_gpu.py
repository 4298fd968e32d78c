"""A GPU that is not there: tensors that say they are on "cuda" and are computed on the CPU.

Inside `pretended_gpu` a tensor that is made on "cuda" or sent there becomes an `OnGPU`. It says so
when asked for its device, and holds its values in an ordinary tensor, on which everything computes:
forward, backward and optimizer, samplers, packed sequences and boolean masks included. So code that
asks for the device takes the way that it takes on a GPU, and a call that is given tensors of both
devices raises `WrongDevice`, as do the other things that CUDA refuses: a generator of the CPU for
numbers drawn on the GPU, `numpy()` of what is there.

Why not torch's FakeTensorMode: it knows no values, so that every packed sequence and every mask
would need a detour of its own; and a wrapper below autograd asks CUDA's driver for streams.

What this cannot find: what CUDA's own kernels refuse (their limits of types and sizes), and how
exact and how fast they are. Autocast is that of the CPU, whose lists of operations differ a little.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.backends import cudnn
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")


class WrongDevice(RuntimeError):
    """Tensors of two devices met, or one on the GPU was used as if it were not."""


class OnGPU(Tensor):
    """A tensor on the pretended GPU; its values are in `inner`, on the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "OnGPU":
        # To C++ code that is called past us, this is a tensor without values: it fails.
        outside = torch.empty_strided(
            inner.size(), inner.stride(), dtype=inner.dtype, device="meta"
        )
        made = Tensor._make_subclass(cls, outside)
        made.inner = inner
        return made

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _SAYS:
            return _SAYS[func]
        if func is torch._has_compatible_shallow_copy_type:  # asked by Module.to
            return False
        name = getattr(func, "__name__", str(func))
        if name in ("numpy", "__array__"):
            raise WrongDevice(f"{name}: a tensor on cuda; use .cpu() first")
        if func is Tensor.__repr__:
            return f"OnGPU({args[0].inner!r})"
        leaves, _ = tree_flatten((args, kwargs))
        _check_devices(name, args, leaves)
        _note_wait(name, args, kwargs)
        target = _target(func, args, kwargs)
        if target is not None:
            args, kwargs = tree_map_only(torch.device, lambda _: CPU, (args, kwargs))
            args, kwargs = tree_map_only(str, lambda s: "cpu" if is_cuda(s) else s, (args, kwargs))
        inner_args, inner_kwargs = tree_map_only(OnGPU, lambda x: x.inner, (args, kwargs))
        bf16 = torch.is_autocast_enabled("cuda")
        with torch._C.DisableTorchFunctionSubclass():
            if bf16:
                with torch.autocast("cpu", torch.get_autocast_dtype("cuda")):
                    out = func(*inner_args, **inner_kwargs)
            else:
                out = func(*inner_args, **inner_kwargs)
        if target is not None and target.type != "cuda":
            return out
        if name in ("copy_", "__setitem__") and not isinstance(args[0], OnGPU):
            return out
        same = {id(x.inner): x for x in leaves if isinstance(x, OnGPU)}
        return tree_map_only(Tensor, lambda x: same.get(id(x)) if id(x) in same else OnGPU(x), out)


_SAYS = {
    Tensor.device.__get__: CUDA,
    Tensor.is_cuda.__get__: True,
    Tensor.is_cpu.__get__: False,
    Tensor.is_meta.__get__: False,
}

# Calls that are given tensors of both devices.
_BOTH = ("copy_", "to", "type_as")
# CUDA takes a single number from the CPU in arithmetic, but not here.
_NO_NUMBERS = ("cat", "concat", "stack", "mm", "bmm", "matmul", "linear", "index_select", "gather",
               "embedding", "bilinear", "einsum")  # fmt: skip
# What makes the CPU wait until the GPU is done.
_WAITS = ("item", "tolist", "cpu", "__bool__", "__float__", "__int__", "__index__", "nonzero",
          "masked_select", "unique", "unique_consecutive", "bincount", "equal", "allclose",
          "is_nonzero")  # fmt: skip


def _check_devices(name: str, args: tuple, leaves: list) -> None:
    here = [x for x in leaves if isinstance(x, Tensor) and not isinstance(x, OnGPU)]
    if name in ("lstm", "gru"):  # they take the sizes of their batches from the CPU
        here = [x for x in here if x.is_floating_point()]
    if not here or name in _BOTH:
        return
    if name in ("__getitem__", "__setitem__") and isinstance(args[0], OnGPU):
        # Places to read or write may be given on the CPU; they are copied, which is a wait.
        here = [x for x in here if not any(x is place for place in tree_flatten(args[1])[0])]
        if not here:
            return
    if any(x.dim() for x in here) or name in _NO_NUMBERS:
        shapes = ", ".join(str(tuple(x.shape)) for x in here)
        raise WrongDevice(f"{name}: tensors on the CPU, of shape {shapes}, meet others on cuda")
    if name in ("__setitem__", "add_", "mul_", "sub_", "div_") and not isinstance(args[0], OnGPU):
        raise WrongDevice(f"{name}: a tensor on cuda is written into one on the CPU")


def _target(func: Callable, args: tuple, kwargs: dict) -> torch.device | None:
    """Where a call puts its result, if it says so."""
    if func is Tensor.cpu:
        return CPU
    if func is Tensor.to and not any(isinstance(x, Tensor) for x in args[1:]):
        known = {k: v for k, v in kwargs.items() if k != "copy"}
        return torch._C._nn._parse_to(*args[1:], **known)[0]
    device = kwargs.get("device")
    return None if device is None else torch.device(device)


def is_cuda(device: Any) -> bool:
    """Whether a device, or its name, is the GPU."""
    if isinstance(device, str):
        return device == "cuda" or device.startswith("cuda:")
    return isinstance(device, torch.device) and device.type == "cuda"


_counted: list[list[str]] = []


def _note_wait(name: str, args: tuple, kwargs: dict) -> None:
    places = tree_flatten(args[1])[0] if name in ("__getitem__", "__setitem__") else ()
    found = any(
        isinstance(x, Tensor) and x.dim() and (x.dtype == torch.bool or not isinstance(x, OnGPU))
        for x in places
    )
    repeats = (
        name == "repeat_interleave"
        and "output_size" not in kwargs
        and (any(isinstance(x, OnGPU) for x in args[1:]))
    )
    home = name == "to" and any(x == CPU or x == "cpu" for x in tree_flatten((args[1:], kwargs))[0]
                                if isinstance(x, (str, torch.device)))  # fmt: skip
    if name in _WAITS or found or repeats or home:
        for noted in _counted:
            noted.append(name)


def _note_copy(name: str) -> None:
    """A copy to the GPU from memory that is not pinned is waited for."""
    for noted in _counted:
        noted.append(name)


@contextmanager
def waits() -> Iterator[list[str]]:
    """The calls inside for which the CPU waits for the GPU, by name."""
    noted: list[str] = []
    _counted.append(noted)
    try:
        yield noted
    finally:
        _counted.pop()


class _Arrivals(TorchFunctionMode):
    """Sends to the pretended GPU what is made there, or moved there."""

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        first = args[0] if args else None
        if name == "pin_memory":
            return first
        if func is Tensor.cuda:
            return first if isinstance(first, OnGPU) else OnGPU(first)
        if func is Tensor.to and not isinstance(first, OnGPU):
            return _sent(first, *args[1:], **kwargs)
        kwargs.pop("pin_memory", None)
        if not is_cuda(kwargs.get("device")) or isinstance(first, OnGPU):
            return func(*args, **kwargs)
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type != "cuda":
            raise WrongDevice(f"{name}: a generator on the CPU for numbers on cuda")
        if name in ("tensor", "as_tensor"):
            _note_copy(name)
        return OnGPU(func(*args, **{**kwargs, "device": CPU}))


def _sent(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`x.to(...)` of a tensor on the CPU."""
    if args and isinstance(args[0], OnGPU):  # x.to(other)
        _note_copy("to")
        return OnGPU(x.to(args[0].dtype))
    if args and isinstance(args[0], Tensor):
        return x.to(*args, **kwargs)
    known = {name: value for name, value in kwargs.items() if name != "copy"}
    device, dtype, _, layout = torch._C._nn._parse_to(*args, **known)
    moved = x.to(dtype or x.dtype, memory_format=layout or torch.preserve_format)
    if not is_cuda(device):
        return moved
    if x.dim() and not kwargs.get(
        "non_blocking"
    ):  # from pageable memory: a copy that is waited for
        for noted in _counted:
            noted.append("to")
    return OnGPU(moved.clone() if moved is x and not x.requires_grad else moved)


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """Inside, there is a GPU for `torch.cuda.is_available()` and all that is sent to "cuda"."""
    pretended = {
        "is_available": lambda: True,
        "is_bf16_supported": lambda *_, **__: True,
        "mem_get_info": lambda *_: (1 << 40, 1 << 40),
        "synchronize": lambda *_: None,
        "empty_cache": lambda: None,
        "is_initialized": lambda: False,
        "is_current_stream_capturing": lambda: False,
    }
    conversion = torch.__future__.get_overwrite_module_params_on_conversion()
    with ExitStack() as stack:
        for name, value in pretended.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        # Recurrent networks ask before they rearrange their weights.
        stack.enter_context(mock.patch.object(cudnn, "is_acceptable", lambda _: False))
        # Modules get new parameters: the old ones cannot become tensors of another class.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, conversion)
        # Written in C++, past us. All that is trained is float32 on one device.
        stack.enter_context(mock.patch.object(
            Optimizer, "_group_tensors_by_device_and_dtype", staticmethod(
                lambda lists, with_indices=False:
                {(CUDA, torch.float32): (lists, list(range(len(lists[0]))))}
            )
        ))  # fmt: skip
        stack.enter_context(_Arrivals())
        yield
