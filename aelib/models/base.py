"""What training asks of a model, and all that it asks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import wraps
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from aelib.data import IMAGE_SIZE, LATER
from aelib.errors import AelibError

OF_IMAGES = LATER | {"images": True}
"""The same, of a field that the images say, such as the number of their classes."""


def plain(value: Any) -> Any:
    """Tuples in `value` as lists, as JSON gives them back."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def decisive(config: Any) -> dict[str, Any]:
    """A model's, a training's or a split's configuration as a run keeps it: JSON values by name."""
    left_out = {
        each.name
        for each in fields(config)
        if each.metadata.get("later") and getattr(config, each.name) == each.default
    }
    return {name: value for name, value in plain(asdict(config)).items() if name not in left_out}


class Model(nn.Module, ABC):
    """A network that knows its loss.

    Args:
        config: its shape, a `config_class`; that one's defaults if it is left out.

    Attributes:
        worth_compiling: whether torch.compile makes a training of some thousand steps quicker.

    Raises:
        AelibError: the configuration is of another model.
    """

    worth_compiling: ClassVar[bool] = True
    config_class: ClassVar[type | None] = None
    config: Any

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        if self.config_class is None:
            return
        if config is not None and not isinstance(config, self.config_class):
            raise AelibError(
                f"{type(self).__name__} takes a {self.config_class.__name__}, not a {type(config).__name__}: give one"
            )
        self.config = self.config_class() if config is None else config

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: `(1, 28, 28)`, an image, unless the model says otherwise."""
        return 1, IMAGE_SIZE, IMAGE_SIZE

    @abstractmethod
    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Per-image terms, each (B,): training minimises the mean of `"loss"` and records the mean of each.

        Args:
            images: (B, 1, 28, 28), in [0, 1]; or what the model takes in their place.
            labels: (B,), in [0, C).
        """

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """What the optimiser trains, in groups as PyTorch has them: all in one, with that L2 penalty, by default.

        A model may say otherwise, for example that of the decoder alone.
        """
        return [{"params": [each for each in self.parameters() if each.requires_grad], "weight_decay": weight_decay}]

    def corrupt(self, inputs: Tensor) -> Tensor:
        """What the network sees of `inputs`, (B, …), in training: themselves, unless the model says otherwise."""
        return inputs

    def checked(self, images: Tensor) -> Tensor:
        """`images`, (B, C, H, W), where the network can take them.

        Raises:
            AelibError: they are of another size or number of channels, or their pixels, on a processor, are not in
                [0, 1].
        """
        if images.shape[1:] != self.input_shape or not images.is_floating_point():
            wanted, given = (", ".join(map(str, shape)) for shape in (self.input_shape, images.shape))
            raise AelibError(
                f"{type(self).__name__} takes (B, {wanted}), floats in [0, 1], not ({given}), {images.dtype}: convert "
                "them, or give the configuration of an autoencoder their image_size and image_channels"
            )
        # A look at the numbers would break what is compiled or recorded, and have a training wait for its GPU.
        if images.device.type == "cpu" and len(images) and not torch.compiler.is_compiling():
            low, high = images.detach().aminmax()
            if not (low >= -ROUNDING and high <= 1 + ROUNDING):
                raise AelibError(
                    f"{type(self).__name__} takes pixels in [0, 1], not from {low:g} to {high:g}: divide those by 255"
                )
        return images


ROUNDING = 1e-3
"""By how much a pixel may be out of its range."""


Given = TypeVar("Given", Tensor, np.ndarray)


def arrays_too(method: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Given], Given]:
    """Have a method that turns tensors, (B, …), into tensors also turn arrays, of any length, into arrays.

    Of an array it is 500 at a time, without gradients, and as in evaluation; grey images need no channel.
    """

    @wraps(method)
    def either(self: Model, given: Any) -> Any:
        if isinstance(given, Tensor):
            return method(self, given)
        place, before = next(self.parameters()), self.training
        tensor = torch.from_numpy(np.asarray(given))
        if tensor.dtype != torch.uint8:  # those are images of [0, 255], which are refused
            tensor = tensor.float()
        if tensor.ndim == 3:
            tensor = tensor[:, None]
        self.eval()
        try:
            with torch.no_grad():
                return torch.cat([method(self, part.to(place.device)) for part in tensor.split(500)]).cpu().numpy()
        finally:
            self.train(before)

    return either
