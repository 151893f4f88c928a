"""The code that decides a training: a digest of it, and when two versions of it train alike.

A run, a trial and a checkpoint each keep a record, `{"digest": …, "probe": …}`: the digest of the code that made them,
and what `aelib.probe` found of it. The digest changes with any edit; whether that edit matters, the probe says.
"""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

DECISIVE = (
    "corruption",
    "data/batches",
    "engines",
    "epochs",
    "experiments/kinds",
    "experiments/registry",
    "finder",
    "hyperparameters",
    "lightning",
    "models",
    "probe",
    "training",
)
"""The modules and the package of aelib that decide, with the configuration, the data and the seed, how a training
ends. That the registry has the shapes and hyper-parameters of experiments as well, which are in the configuration of
their runs, costs a probe."""

TOLERANCE = 3e-4
"""Relative, of each number of a probe. Processors differ in the order of sums and in the last digit of exponentials;
optimisers that divide by the size of a gradient turn that into whole steps where a gradient is next to nothing, and a
few steps later into more. One processor, made to compute like four others back to those of 2008 (ATEN_CPU_CAPABILITY,
ONEDNN_MAX_CPU_ISA, MKL_CBWR), differed from itself by less than 1e-6 in the report's experiments, and in 140 probes
that began with other weights by less than 2e-5 but for six, and by 1.8e-4 at most. A slope of the LeakyReLU of 0.011 in
place of 0.01 makes 7e-4, one of 0.02 five times that; other momenta, dropouts, kernels, transforms and orders of the
batches make more."""

UNRECORDED = "made by code that was not recorded"
STALE = "stale, since today's code trains otherwise"


@cache
def say(what: str, why: str, mend: str) -> None:
    """Say, once in a process, why `what` may not be what today's code makes; in a build its pages say what is old."""
    if why == STALE or (why and "AELIB_RUNS_READ" not in os.environ):
        print(f"aelib: {what}: {why}{mend}", file=sys.stderr)


@cache
def digest() -> str:
    """SHA-256, in hexadecimal, of the decisive code without its docstrings, comments and layout."""
    return hashlib.sha256("\0".join(bare(path.read_text(encoding="utf-8")) for path in _files()).encode()).hexdigest()


def _files() -> Iterator[Path]:
    folder = Path(__file__).parent
    for name in DECISIVE:
        yield from sorted((folder / name).glob("*.py")) or [folder / f"{name}.py"]


@cache  # as it is when a build begins: what is edited meanwhile, and stays so, counts at the next one
def whole() -> str:
    """SHA-256, in hexadecimal, of all code of aelib without its comments and layout, and of the report's curves."""
    folder = Path(__file__).parent
    code = [ast.dump(_parsed(path.read_text(encoding="utf-8"))) for path in sorted(folder.rglob("*.py"))]
    curves = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("curves/*.csv"))]
    return hashlib.sha256("\0".join([*code, *curves]).encode()).hexdigest()


_PARSING = Lock()


def _parsed(source: str) -> ast.Module:
    """Python code as a tree; of threads, one at a time, since Python 3.11 loses count of the depth of two trees."""
    with _PARSING:
        return ast.parse(source)


def bare(source: str) -> str:
    """Python code without docstrings, those of constants included, comments and layout."""
    tree = _parsed(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [each for each in node.body if not _is_text(each)]
    return repr(_shape(tree))


def _shape(node: object) -> object:
    """What a tree is made of, without what only some versions of Python note down."""
    if isinstance(node, list):
        return [_shape(each) for each in node]
    if not isinstance(node, ast.AST):
        return node
    parts = [(name, _shape(value)) for name, value in ast.iter_fields(node) if value is not None and value != []]
    return [type(node).__name__, *parts]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def alike(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Whether two records are of one code, or of two that train alike; a record that is missing is like no other."""
    if not one or not other:
        return False
    return one["digest"] == other["digest"] or agree(one["probe"], other["probe"])


def agree(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether two probes found the same numbers, to `TOLERANCE`."""
    return (
        bool(one)
        and one.keys() == other.keys()
        and all(abs(value - other[name]) <= TOLERANCE * abs(value) for name, value in one.items())
    )
