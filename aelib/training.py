"""Training any model of aelib: fit, resume, early stopping.

Lightning does the work; what it lacks is here: checkpoints without pickle, and a resumed training that ends with the
same bits as one that was never interrupted.
"""

from __future__ import annotations

import math
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor
from tqdm import tqdm

from aelib import checkpoints, code_version, compilation, cores, epochs, lightning, progress
from aelib.data import Batches, GarmentLoaders
from aelib.engines import (
    Engine,
    OutOfMemory,
    arithmetic,
    choose_engine,
    keep_freed_memory,
    out_of_memory,
    same_engine,
    words_of,
)
from aelib.errors import AelibError
from aelib.finder import Diverged, LearningRateCurve, find_learning_rate
from aelib.hyperparameters import TrainingConfig
from aelib.models import Model


@dataclass(frozen=True)
class History:
    """The course of a training.

    Attributes:
        rows: one dict an epoch: `epoch` (from 1), `learning_rate`, then `train_<term>` and `validation_<term>`,
            means over the images.
        best_epoch: the epoch with the lowest `validation_loss`, whose weights the model has.
        pictures: (epochs, 28, 28), uint8: the model's output for one image after each epoch; empty without.
        seconds: wall-clock time of each epoch, those before it was resumed included.
        engine: what the training ran on.
        threads: from which step on (from 0) it had how many threads, as pairs; their number decides the last digits.
        curve: the learning-rate finder's, where it was asked.
    """

    rows: list[dict[str, float]]
    best_epoch: int
    pictures: Tensor
    seconds: list[float]
    engine: Engine
    threads: list[list[int]]
    curve: LearningRateCurve | None


SAVE_EVERY = 1.0
"""Seconds between two checkpoints, at least: on a GPU, writing one takes as long as an epoch."""


class _Recorder(Checkpoint):
    """Keeps the history and the best weights, ends the training in time, and writes a checkpoint after an epoch."""

    def __init__(
        self,
        path: Path,
        config: TrainingConfig,
        picture: Tensor | None,
        watch: Callable | None,
        origin: dict[str, Any] | None,
        share: cores.Share,
        engine: Engine,
    ) -> None:
        self.path, self.config, self.picture = path, config, picture
        self.watch, self.code, self.share, self.engine = watch, origin, share, engine
        self.rows: list[dict[str, float]] = []
        self.seconds: list[float] = []
        self.pictures: list[Tensor] = []
        self.best_epoch = 0
        self.best_weights: dict[str, Tensor] = {}
        self.curve: LearningRateCurve | None = None
        self.bar: tqdm | None = None
        self._started = 0.0
        self._saved = float("-inf")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, lightning.Training)
        row = {"epoch": trainer.current_epoch + 1, "learning_rate": float(pl_module.learning_rate or 0)}
        row |= {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        self.rows.append(row)
        if math.isfinite(row["validation_loss"]) and epochs.best(self.rows) is row:
            self.best_epoch = int(row["epoch"])
            self.best_weights = {name: value.clone() for name, value in pl_module.model.state_dict().items()}
        if self.picture is not None:
            self.pictures.append(render(pl_module.model, self.picture.to(pl_module.device)))
        now = time.perf_counter()
        self.seconds.append(now - self._started)
        trainer.should_stop = finished = self.finished
        if finished or now - self._saved >= SAVE_EVERY:
            trainer.save_checkpoint(self.path)
            self._saved = time.perf_counter()
        if self.bar is not None:
            self.bar.set_postfix_str(f"validation loss {row['validation_loss']:.5f}", refresh=False)
            self.bar.update()
        if self.watch:
            self.watch(self.rows, self.seconds)

    @property
    def finished(self) -> bool:
        """Whether the training has come to its end."""
        losses, config = (row["validation_loss"] for row in self.rows), self.config
        end = epochs.length(losses, patience=config.patience, min_delta=config.min_delta, most=config.max_epochs)
        return end is not None

    def state_dict(self) -> dict[str, Any]:
        names = ("rows", "seconds", "pictures", "best_epoch", "best_weights", "code")
        curve = vars(self.curve) if self.curve else None
        others = {"curve": curve, "threads": self.share.threads, "torch": torch.__version__}
        others["engine"] = vars(self.engine)
        return {name: getattr(self, name) for name in names} | others

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        curve = state_dict["curve"]
        own = {"curve": LearningRateCurve(**curve) if curve else None, "code": self.code, "engine": self.engine}
        vars(self).update(state_dict | own)
        if threads := state_dict.get("threads"):  # an older version kept none
            self.share.resume(threads)


@torch.no_grad()
def render(model: Model, image: Tensor) -> Tensor:
    """The output of `model` for one image, (1, 1, 28, 28) in [0, 1], as (28, 28), uint8."""
    training = model.training
    model.eval()
    output = model(image)
    model.train(training)
    return (output[0, 0] * 255).round().to(torch.uint8).cpu()


def fit(
    model: Model,
    data: GarmentLoaders,
    config: TrainingConfig,
    *,
    seed: int,
    folder: Path,
    picture: Tensor | None = None,
    watch: Callable[[list[dict[str, float]], list[float]], None] | None = None,
    threads: list[list[int]] | None = None,
    origin: dict[str, Any] | None = None,
    engine: Engine | None = None,
    precision: str | None = None,
) -> History:
    """Train `model` until the validation loss no longer falls; leaves the best epoch's weights in it.

    Writes `folder/checkpoint` after an epoch, once a second at most, and goes on from it where it is there: a training
    that was killed and started again ends with the same bits as one that was not.

    Args:
        picture: (1, 1, 28, 28), in [0, 1]: an image whose reconstruction is kept after every epoch.
        watch: called after every epoch, and before a training goes on, with `History.rows` and `History.seconds` so
            far; what it raises ends the training.
        threads: `History.threads` of a training that this one is to repeat bit for bit. By default it takes the cores
            that are idle, fewer where others come, or as many as `OMP_NUM_THREADS` says.
        origin: what is kept of the code (`code`); a checkpoint of code that trains otherwise is not gone on from.
        engine: what to train on; by default what the checkpoint was begun on, or the quickest here, of those with
            `precision`.

    Raises:
        Diverged: the losses are no longer numbers.
        OutOfMemory: the memory of the GPU is full.
        AelibError: the checkpoint is damaged, a batch is too small for the model, there is no such precision here, or
            the model cannot be trained on a GPU.
    """
    keep_freed_memory()
    order = data.train_dataloader().sampler
    assert isinstance(order, Batches)
    images, size = len(order.indices) * order.rounds, order.size
    normalised = any(isinstance(each, torch.nn.modules.batchnorm._BatchNorm) for each in model.modules())
    if normalised and 1 in (size, images % size):
        raise AelibError(
            f"{images:,} training images in batches of {size} leave a batch of one, which batch "
            "normalisation cannot take: choose another batch_size or number of images"
        )
    steps = config.max_epochs * len(order) if model.worth_compiling else 0
    engine = engine or _begun_on(folder / "checkpoint", precision) or choose_engine(steps, precision)
    if engine.compiled:
        # What is compiled is kept with the code, which all trainings of a process share: after some it would be full.
        torch.compiler.reset()
        compilation.mend()
    begin = {name: value.clone() for name, value in model.state_dict().items()} if engine.compiled else {}
    before, share = torch.get_num_threads(), cores.Share(threads, engine.compiled)
    options: dict[str, Any] = {"seed": seed, "folder": folder, "picture": picture, "watch": watch, "origin": origin}
    try:
        with arithmetic(engine):
            return _fit(model, data, config, engine, share, **options)
    except RuntimeError as error:
        if engine.compiled:
            engine = replace(engine, compiled=compilation.again(error))
        elif engine.device == "cpu" or not out_of_memory(error):
            raise
        else:
            raise OutOfMemory(
                "the memory of the GPU is full: free it, or train on the processor, with CUDA_VISIBLE_DEVICES= before "
                "the command; what is done is kept"
            ) from error
    finally:
        torch.set_num_threads(before)
    model.load_state_dict(begin)
    return fit(model, data, config, threads=threads, engine=engine, **options)


def _fit(
    model: Model,
    data: GarmentLoaders,
    config: TrainingConfig,
    engine: Engine,
    share: cores.Share,
    *,
    seed: int,
    folder: Path,
    picture: Tensor | None,
    watch: Callable[[list[dict[str, float]], list[float]], None] | None,
    origin: dict[str, Any] | None,
) -> History:
    """What `fit` does, with an engine."""
    data = data.on(engine.device)
    loaders: tuple[Any, Any] = (data.train_dataloader(), data.val_dataloader())
    module = lightning.Training(model, config, engine, seed, share)
    if engine.graphed:
        # An epoch is one batch.
        module, loaders = lightning.GraphedTraining(model, config, engine, seed, data), ([0], [0])
    path = folder / "checkpoint"
    share.before(0)
    recorder = _Recorder(path, config, picture, watch, origin, share, engine)
    trainer = lightning.trainer(folder, engine, max_epochs=config.max_epochs, callbacks=[recorder])
    if state := _kept(path, recorder):
        recorder.load_state_dict(state)
        if watch:
            watch(recorder.rows, recorder.seconds)
    elif config.learning_rate is None:
        recorder.curve = find_learning_rate(model, data, config, seed=seed, folder=folder, engine=engine)
    if recorder.curve:
        module.learning_rate = recorder.curve.suggestion
    if not recorder.finished:
        with lightning.running(), progress.bar(config.max_epochs, len(recorder.rows)) as bar:
            recorder.bar = bar
            trainer.fit(module, *loaders, ckpt_path=path if path.exists() else None)
    last = recorder.rows[-1]
    if not math.isfinite(last["validation_loss"]):
        raise Diverged(
            f"the training diverged in epoch {last['epoch']} at learning rate {module.learning_rate:.3g}: "
            "take a smaller learning_rate"
        )
    model.load_state_dict(recorder.best_weights)
    model.eval()
    pictures = torch.stack(recorder.pictures) if recorder.pictures else torch.empty(0, 28, 28, dtype=torch.uint8)
    return History(
        recorder.rows, recorder.best_epoch, pictures, recorder.seconds, engine, share.threads, recorder.curve
    )


def _state(path: Path) -> dict[str, Any]:
    """What a `_Recorder` has written into a checkpoint."""
    return checkpoints.load(path)["callbacks"][_Recorder.__qualname__]


def _begun_on(path: Path, precision: str | None) -> Engine | None:
    """The engine of a checkpoint, if there is one, this machine has it too, and `precision` asks for no other."""
    kept = _state(path).get("engine") if path.exists() else None
    return same_engine(kept) if kept and precision in (None, kept["precision"]) else None


def _kept(path: Path, recorder: _Recorder) -> dict[str, Any] | None:
    """The state to go on from, if there is a checkpoint; one of another engine or of other code is removed."""
    if not path.exists():
        return None
    state, here = _state(path), vars(recorder.engine)
    # An older version of aelib kept neither code nor version nor engine.
    kept, version, engine = state.get("code"), state.get("torch", torch.__version__), state.get("engine", here)
    why = ""
    if engine != here:
        why = f"begun {words_of(engine)}, here it is {words_of(here)}"
    elif recorder.code and version != torch.__version__:
        why = f"begun with torch {version}, here is {torch.__version__}"
    elif recorder.code and not code_version.alike(kept, recorder.code):
        why = code_version.STALE if kept else code_version.UNRECORDED
    if not why:
        return state
    print(f"aelib: the checkpoint {path} is not gone on from ({why}): training from the start", file=sys.stderr)
    path.unlink()
    return None


def peak_memory() -> int:
    """The largest resident memory of this process so far, in bytes."""
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
