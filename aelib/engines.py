"""What a training runs on: the device, the precision of its steps, and whether they are compiled."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from aelib import compilation
from aelib.errors import AelibError, known
from aelib.provenance import precision_of


@dataclass(frozen=True)
class Engine:
    """What a training runs on.

    Attributes:
        device: `"cpu"` or `"cuda"`.
        precision: of the training step: `"float32"`; `"bf16"`; or, of a GPU, `"tf32"`, float32 with products of fewer
            bits.
        compiled: whether by torch.compile.
    """

    device: str
    precision: str
    compiled: bool

    @property
    def graphed(self) -> bool:
        """Whether a training step is launched as one CUDA graph."""
        return self.device == "cuda"


COMPILE_FROM_STEPS = 3000
"""Compilation costs about 25 s on two cores and saves 9 to 19 ms a step: it pays from here on."""


COMPILER_OPTIONS: dict[str, str | int | bool | Callable] = {"fallback_random": True}
"""PyTorch's own random numbers: on a processor, the compiler's take longer."""


def choose_engine(steps: int, precision: str | None = None) -> Engine:
    """The quickest engine here for a training of at most `steps` steps, of those with `precision`.

    Validation runs uncompiled and in float32, and what is measured after a training runs on a processor, in float32: a
    metric does not depend on the engine.

    Raises:
        AelibError: there is no such precision, or not here.
    """
    if torch.cuda.is_available() and _gpu_has_room():
        # What a step computes takes a GPU less time than its kernels take to launch, whatever the precision, and a
        # graph of them saves most of what compilation would, without its half minute.
        known("precision", precision or "tf32", ("float32", "tf32", "bf16"))
        return Engine("cuda", precision or "tf32", compiled=False)
    return _on_the_processor(steps, precision)


def _on_the_processor(steps: int, precision: str | None = None) -> Engine:
    # Large products in bf16 are quicker than in float32 with AMX, seven times, and with the AVX-512 of AMD, which alone
    # comes with SSE4a, twice; with that of Intel they take twice as long, and emulated far longer.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    bf16 = bool(capabilities.get("amx_bf16") or (capabilities.get("avx512_bf16") and capabilities.get("sse4a")))
    here = ("float32", "bf16") if bf16 else ("float32",)
    return Engine(
        "cpu", known("precision", precision or here[-1], here), steps >= COMPILE_FROM_STEPS and compilation.works()
    )


def same_engine(kept: Mapping[str, Any]) -> Engine | None:
    """The engine that a run has `kept`, where this machine has it; None where it has not."""
    choose, precision = (_on_the_processor if kept["device"] == "cpu" else choose_engine), precision_of(kept)
    try:
        here = choose(COMPILE_FROM_STEPS, precision)
    except AelibError:
        return None
    engine = Engine(kept["device"], precision, kept.get("compiled", False))
    return None if engine.compiled > here.compiled or engine.device != here.device else engine


def words_of(engine: Mapping[str, Any]) -> str:
    """An engine, as `vars` gives it, in words: `in bf16 on cpu, compiled`."""
    return f"in {engine['precision']} on {engine['device']}, {'' if engine['compiled'] else 'not '}compiled"


GPU_NEEDS = 2**30
"""Bytes of a GPU's memory that a training here needs at least, PyTorch's own included."""


@cache
def _gpu_has_room() -> bool:
    """Whether the GPU has `GPU_NEEDS` bytes to give; says so, once, where it does not."""
    try:
        free, _ = torch.cuda.mem_get_info()
    except RuntimeError:  # not even room to ask
        free = 0
    if free < GPU_NEEDS:
        print(f"aelib: the GPU has {free / 2**20:,.0f} MiB free, too few: training on the processor", file=sys.stderr)
    return free >= GPU_NEEDS


@cache
def keep_freed_memory() -> None:
    """Have the C library keep what is freed: it would hand it back, and fault it in anew, at every training step.

    Measured on two cores of a virtual machine: 55,000 page faults a second and half of the processor's time in the
    system before, 400 and next to none after; an undisturbed epoch of the report took 7.2 to 8.0 s before, 6.0 to
    7.0 s after.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return  # another C library than GNU's
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # from malloc.h
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_threshold, 2**30)
    mallopt(top_pad, 2**28)


class OutOfMemory(AelibError, MemoryError):
    """A training does not fit into the memory of what it runs on."""


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that there is no memory left; on a processor, PyTorch reports it as a plain RuntimeError."""
    words = ("can't allocate memory", "CUDA error: out of memory")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(each in str(error) for each in words)


@contextlib.contextmanager
def arithmetic(engine: Engine) -> Iterator[None]:
    """On a GPU: products of the engine's precision, of convolutions and of matrices, that repeat themselves."""
    if engine.device == "cpu":
        # Compiled code is of one number of threads; after some the compiler would give up, and be slow for good.
        # What it cannot compile it would otherwise run as it is, if a variable says so, and not say so.
        ours = {"recompile_limit": 64, "suppress_errors": False}
        with torch._dynamo.config.patch(ours) if engine.compiled else contextlib.nullcontext():
            yield
        return
    before, tf32 = torch.get_float32_matmul_precision(), engine.precision != "float32"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
