"""Nested Python values with tensors, in one safetensors file: written in one step, read without pickle."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from aelib.errors import AelibError


def save(value: Any, path: Path) -> None:
    """Write `value`, made of dicts, lists, tuples, tensors, numbers, strings, booleans and None.

    Dicts may have integer keys; tuples come back as lists.

    Raises:
        TypeError: `value` holds something else, which only a pickle could keep.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_flatten(value, tensors))
    metadata = {"tree": tree, "sha256": _digest(tree, tensors)}
    part = path.with_name(path.name + ".part")
    # Through Python's own file: safetensors would wrap a full disk in an error of its own.
    with part.open("wb") as file:
        file.write(safetensors.torch.save(tensors, metadata=metadata))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def load(path: Path) -> Any:
    """What `save` wrote.

    Raises:
        AelibError: the file is truncated or altered.
    """
    # Read at once: safetensors opens a path twice, and a training may replace the file in between.
    content = path.read_bytes()
    try:
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header["__metadata__"]
        if metadata["sha256"] != _digest(metadata["tree"], tensors):
            raise ValueError("checksum")
        return _unflatten(json.loads(metadata["tree"]), tensors)
    except (SafetensorError, KeyError, ValueError) as error:
        raise AelibError(f"{path} is truncated or altered: delete it, and the training starts again") from error


def _digest(tree: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(tree.encode())
    for name in sorted(tensors):
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _flatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A JSON value in which lists and dicts are tagged, and tensors stand by name."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        # A copy: two views of one storage may not be saved side by side.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[key, _flatten(item, tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_flatten(item, tensors) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a checkpoint cannot keep {value!r}, a {type(value).__name__}")


def _unflatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unflatten(item, tensors) for item in value]
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {key: _unflatten(item, tensors) for key, item in value["dict"]}
    return value
