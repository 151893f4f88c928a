"""Autoencoders on FashionMNIST: models, data, training, experiments and figures of a 2022 report, reproduced.

`obtain` gives a run, trained if it is not there, and `sweep` many; `open_run` an autoencoder with its images and codes,
`load_model` any model; `EXPERIMENTS` says what there is.

>>> import aelib
>>> run = aelib.obtain("variational", profile="smoke")  # synthetic garments; trained within seconds
>>> model = run.model()
>>> model.sample(2, seed=1).shape
torch.Size([2, 1, 28, 28])
>>> trained = aelib.open_run(run)
>>> trained.codes.shape == (len(trained.images), model.config.latent_dim)
True
>>> model.reconstruct(trained.images).shape == trained.images.shape
True
>>> rows = aelib.sweep("variational", profile="smoke", beta=[1.0, 4.0], seeds=[0, 1])
>>> [(row.parameters["beta"], row.seed) for row in rows]
[(1.0, 0), (1.0, 1), (4.0, 0), (4.0, 1)]
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aelib.experiments import EXPERIMENTS, load_model, obtain, open_run
    from aelib.sweeps import sweep

__version__ = "0.1.0"
__all__ = ["EXPERIMENTS", "load_model", "obtain", "open_run", "sweep"]


def __getattr__(name: str) -> Any:
    # When it is asked for: PyTorch takes seconds to import, and `aelib --help` needs none of it.
    if name in __all__:
        return getattr(import_module("aelib.sweeps" if name == "sweep" else "aelib.experiments"), name)
    if not name.startswith("_") and find_spec(f"{__name__}.{name}"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
