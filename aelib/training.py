"""Training any model of aelib: fit, resume, early stopping, learning-rate finder, precision and compilation.

Lightning does the work; what it lacks is here: checkpoints without pickle, and a resumed training that ends with the
same bits as one that was never interrupted.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import platform
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import CheckpointIO
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
from pytorch_lightning.tuner import Tuner
from torch import Tensor
from tqdm import tqdm

from aelib import checkpoints, code, compilation, cores, progress, runs
from aelib.data import Batches, GarmentLoaders, epoch_seed
from aelib.errors import AelibError, known
from aelib.hyperparameters import OPTIMIZERS, SGD_MOMENTUM, TrainingConfig
from aelib.models import Model


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
    choose, precision = (_on_the_processor if kept["device"] == "cpu" else choose_engine), runs.precision(kept)
    try:
        here = choose(COMPILE_FROM_STEPS, precision)
    except AelibError:
        return None
    engine = Engine(kept["device"], precision, kept.get("compiled", False))
    return None if engine.compiled > here.compiled or engine.device != here.device else engine


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
def _keep_freed_memory() -> None:
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


class Diverged(AelibError):
    """The losses of a training are no longer numbers."""


class OutOfMemory(AelibError, MemoryError):
    """A training does not fit into the memory of the GPU."""


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that there is no memory left; on a processor, PyTorch reports it as a plain RuntimeError."""
    words = ("can't allocate memory", "CUDA error: out of memory")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(each in str(error) for each in words)


@dataclass(frozen=True)
class LearningRateCurve:
    """What the learning-rate finder saw (Figure 13), and what it suggests.

    Attributes:
        learning_rates: one a step, rising exponentially from 1e-8 to 1.
        losses: training loss after each, smoothed with factor 0.98.
        suggestion: the learning rate where the loss falls most steeply.
    """

    learning_rates: list[float]
    losses: list[float]
    suggestion: float


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


class _Share:
    """The threads of one training: as they were in one that is repeated or resumed; given up as others need cores."""

    def __init__(self, threads: list[list[int]] | None, compiled: bool) -> None:
        self.threads: list[list[int]] = []
        self._compiled = compiled
        self._planned, self._load = [*(threads or [[0, cores.choose()]])], cores.Load()
        # Exactly so many, however busy the machine is.
        self._fixed = threads is not None or cores.asked() is not None

    def before(self, step: int) -> None:
        """Take or give up threads before that step."""
        while self._planned and self._planned[0][0] <= step:
            self._have(*self._planned.pop(0))
        if step == 0:  # what came before, the learning-rate finder's steps, is none of this training's
            self._load = cores.Load()
        if self._fixed or self._load.seconds < cores.WINDOW:
            return
        paused = self._load.seconds > 10 * cores.WINDOW  # then what others did meanwhile says nothing
        room = self._load.room(have := torch.get_num_threads())
        # With another number of threads everything is compiled anew: then one or two of many are not given up.
        if room <= (have // 2 if self._compiled else have - 1) and not paused:
            self._have(step, room)

    def _have(self, step: int, threads: int) -> None:
        torch.set_num_threads(threads)
        self.threads.append([step, threads])

    def resume(self, threads: list[list[int]]) -> None:
        """Go on with as many as the training had, or with what there is."""
        step, had = threads[-1]
        self.threads = threads
        torch.set_num_threads(min(had, cores.available()))
        if had > torch.get_num_threads():
            self.threads = [*threads, [step, torch.get_num_threads()]]
        self._planned = [each for each in self._planned if each[0] > step] if self._fixed else []
        # With more than the user asks for now it gives up what others need.
        self._fixed = self._fixed and torch.get_num_threads() <= (cores.asked() or had)


class _Training(pl.LightningModule):
    """Any model of aelib as Lightning wants it."""

    def __init__(
        self, model: Model, config: TrainingConfig, engine: Engine, seed: int, share: _Share | None = None
    ) -> None:
        super().__init__()
        self.model, self.config, self.engine, self.seed, self.share = model, config, engine, seed, share
        self.learning_rate = config.learning_rate
        self._sums: dict[str, dict[str, Tensor]] = {"train": {}, "validation": {}}
        self._counts = {"train": 0, "validation": 0}
        # Evaluation stays uncompiled: its odd last batch would compile a second time.
        # Static shapes: after an odd last batch the compiler would go over to other kernels, with other last
        # digits, and a resumed training would start again with the first ones.
        self._training_losses = model.losses
        if engine.compiled:
            self._training_losses = torch.compile(model.losses, dynamic=False, options=COMPILER_OPTIONS)

    def on_train_start(self) -> None:
        # The checkpoint may come from another device. Only where the optimiser is "capturable", the number of its step
        # is kept on the GPU, where a graph can change it.
        gpu = self.device.type == "cuda"
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group |= {"capturable": gpu} if "capturable" in group else {}
            for parameter, state in optimizer.state.items():
                state |= {
                    name: value.to("cpu" if name == "step" and not gpu else parameter.device)
                    for name, value in state.items()
                }

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            # Dropout and noise depend on seed and epoch alone, so that a resumed run repeats them.
            torch.manual_seed(epoch_seed(self.seed, self.current_epoch))
        if self.share:
            self.share.before(self.global_step)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.engine.precision == "bf16"):
            terms = self._training_losses(*batch)
        self._record("train", terms)
        return terms["loss"].mean()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._record("validation", self.model.losses(*batch))

    def _record(self, stage: str, terms: dict[str, Tensor]) -> None:
        # Lightning's own means over an epoch take a third of the time of its loop.
        sums = self._sums[stage]
        for name, term in terms.items():
            total = term.detach().double().sum()
            sums.setdefault(name, torch.zeros_like(total)).add_(total)
        self._counts[stage] += len(terms["loss"])

    def on_validation_epoch_end(self) -> None:
        self._tell("validation")

    def on_train_epoch_end(self) -> None:
        self._tell("train")

    def _tell(self, stage: str) -> None:
        """Hand Lightning the mean of each term over the epoch, and begin anew."""
        self.log_dict({f"{stage}_{name}": total / self._counts[stage] for name, total in self._sums[stage].items()})
        self._counts[stage] = 0
        for total in self._sums[stage].values():
            total.zero_()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        options = {"momentum": SGD_MOMENTUM} if self.config.optimizer == "sgd" else {}
        # The finder overwrites the rate; it only needs some optimiser to start from.
        rate = self.learning_rate or 1e-8
        chosen = OPTIMIZERS[self.config.optimizer]
        optimizer = chosen(parameters, lr=rate, weight_decay=self.config.weight_decay, **options)
        if self.engine.compiled:
            # Eager, it goes over all parameters some ten times.
            self._compiled_step = torch.compile(optimizer.step, dynamic=False)
        return optimizer

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        if not self.engine.compiled:
            return super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        assert optimizer_closure
        optimizer_closure()  # not within the step, where the compiler would have to follow it
        self._compiled_step()


class _GraphedTraining(_Training):
    """The same on a GPU, where a step takes less time than Lightning's loop around it.

    To Lightning, an epoch is one batch. Within it, all that a step launches, from picking its images to the optimiser,
    is recorded once as a CUDA graph, and an epoch is as many launches of that graph; the validation is a single one.
    """

    def __init__(self, model: Model, config: TrainingConfig, engine: Engine, seed: int, data: GarmentLoaders) -> None:
        super().__init__(model, config, engine, seed)
        self.automatic_optimization = False
        self._batches = {"train": data.train_dataloader(), "validation": data.val_dataloader()}
        self._launch: dict[str, Callable[[], None]] = {}

    def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        sampler = self._batches["train"].sampler
        assert isinstance(sampler, Batches)
        sampler.set_epoch(self.current_epoch)
        batches = [*sampler]
        whole = [each for each in batches if len(each) == sampler.size]
        if whole and "train" not in self._launch:
            self._next = torch.zeros(1, dtype=torch.long, device=self.device)
            self._order = torch.stack(whole)  # (steps, size)
            self._launch["train"] = _recorded(self._numbered_step, self._state)
            self._counts["train"] = 0
        torch.manual_seed(epoch_seed(self.seed, self.current_epoch))  # recording has drawn some
        if whole:
            self._order.copy_(torch.stack(whole))
            self._next.zero_()
        for indices in batches:
            if len(indices) == sampler.size:
                self._launch["train"]()
            else:
                self._step(indices)  # the odd last one, by itself
        self._counts["train"] = sum(map(len, batches))

    def _numbered_step(self) -> None:
        """A step on the batch whose number is `_next`, and on to the next one."""
        self._step(self._order.index_select(0, self._next)[0])
        self._next.add_(1).remainder_(len(self._order))

    def _step(self, indices: Tensor) -> None:
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        loss = super().training_step(self._batches["train"].dataset[indices], 0)
        optimizer.zero_grad()  # to None: a graph's gradients have their own place
        loss.backward()
        optimizer.step()

    def _state(self) -> list[Tensor]:
        """All tensors that a step changes."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        kept = [value for state in optimizer.state.values() for value in state.values()]
        return [*self.model.parameters(), *self.model.buffers(), *self._sums["train"].values(), self._next, *kept]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if "validation" not in self._launch:
            self._launch["validation"] = _recorded(self._validate, lambda: [*self._sums["validation"].values()])
        self._launch["validation"]()
        self._counts["validation"] = sum(map(len, self._batches["validation"].sampler))

    def _validate(self) -> None:
        for batch in self._batches["validation"]:
            super().validation_step(batch, 0)


def _recorded(work: Callable[[], None], state: Callable[[], list[Tensor]]) -> Callable[[], None]:
    """What launches, as one CUDA graph, all that `work` does on the GPU; leaves `state` as it was.

    Args:
        state: gives the tensors that `work` changes; those that it makes when it is called first are zeros before.

    Raises:
        AelibError: `work` waits for the GPU, which a graph cannot.
    """
    before = [
        (tensor, tensor.detach().clone()) for tensor in state()
    ]  # with the tensors, so that none takes another's id
    launch = _graph(work)
    values = {id(tensor): value for tensor, value in before}
    with torch.no_grad():
        for tensor in state():
            tensor.copy_(values.get(id(tensor), torch.zeros((), device=tensor.device)))
    return launch


def _graph(work: Callable[[], None]) -> Callable[[], None]:
    """`work` as a CUDA graph, after it has been done some times."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # as PyTorch advises: what is made and chosen at a first call is not for the graph
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph, here = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph):
            work()
    except RuntimeError as error:
        # PyTorch would stay on the stream of the recording, with a generator that waits for its end.
        torch.cuda.set_stream(here)
        torch.cuda.default_generators[torch.cuda.current_device()].graphsafe_set_state(torch.Generator("cuda"))
        if out_of_memory(error):
            raise
        raise AelibError(
            f"a step of this model waits for the GPU, and so cannot be recorded as a CUDA graph "
            f"({str(error).splitlines()[0]}): compute without reading numbers from tensors"
        ) from error
    return graph.replay


SAVE_EVERY = 1.0
"""Seconds between two checkpoints, at least: on a GPU, writing one takes as long as an epoch."""


class _Recorder(Checkpoint):
    """Keeps the history and the best weights, and writes a checkpoint after an epoch.

    A `Checkpoint` callback runs after early stopping has made up its mind, so that what is written is whole.
    """

    def __init__(
        self,
        path: Path,
        picture: Tensor | None,
        watch: Callable | None,
        origin: dict[str, Any] | None,
        share: _Share,
    ) -> None:
        self.path, self.picture, self.watch, self.code, self.share = path, picture, watch, origin, share
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
        assert isinstance(pl_module, _Training)
        row = {"epoch": trainer.current_epoch + 1, "learning_rate": float(pl_module.learning_rate or 0)}
        row |= {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        self.rows.append(row)
        if np.isfinite(row["validation_loss"]) and (
            not self.best_epoch or row["validation_loss"] < self.rows[self.best_epoch - 1]["validation_loss"]
        ):
            self.best_epoch = int(row["epoch"])
            self.best_weights = {name: value.clone() for name, value in pl_module.model.state_dict().items()}
        if self.picture is not None:
            self.pictures.append(render(pl_module.model, self.picture.to(pl_module.device)))
        now = time.perf_counter()
        self.seconds.append(now - self._started)
        done = trainer.should_stop or row["epoch"] == trainer.max_epochs
        if done or now - self._saved >= SAVE_EVERY:
            trainer.save_checkpoint(self.path)
            self._saved = time.perf_counter()
        if self.bar is not None:
            self.bar.set_postfix_str(f"validation loss {row['validation_loss']:.5f}", refresh=False)
            self.bar.update()
        if self.watch:
            self.watch(self.rows, self.seconds)

    def state_dict(self) -> dict[str, Any]:
        names = ("rows", "seconds", "pictures", "best_epoch", "best_weights", "code")
        curve = vars(self.curve) if self.curve else None
        others = {"curve": curve, "threads": self.share.threads, "torch": torch.__version__}
        return {name: getattr(self, name) for name in names} | others

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        curve = state_dict["curve"]
        vars(self).update(state_dict, curve=LearningRateCurve(**curve) if curve else None, code=self.code)
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


class _PlainCheckpoints(CheckpointIO):
    """Lightning's checkpoints as safetensors and JSON: nothing in them can run."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        checkpoints.save(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return checkpoints.load(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def _trainer(folder: Path, engine: Engine, **options: Any) -> pl.Trainer:
    # Lightning's advice (loader workers, GPU present but unused) does not apply to a set that is in memory, and that a
    # profiler would not see into the compiled step of the optimiser is nobody's concern.
    for name in (
        "pytorch_lightning",
        "lightning_fabric",
        "torch.utils.cpp_extension",
        "torch._dynamo.variables.ctx_manager",
    ):
        logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module=name)
    return pl.Trainer(
        accelerator="gpu" if engine.device == "cuda" else engine.device,
        devices=1,
        default_root_dir=folder,
        # One process, on a cluster as well: from its variables Lightning would make this one of many, and take over its
        # signals.
        plugins=[_PlainCheckpoints(), LightningEnvironment()],
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        **options,
    )


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning turns Ctrl-C into an exit; here it stays what it is, and so does the exit that a SIGTERM asks for."""
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


def find_learning_rate(
    model: Model, data: GarmentLoaders, config: TrainingConfig, *, seed: int, folder: Path, engine: Engine
) -> LearningRateCurve:
    """Lightning's learning-rate range test (report, Appendix): 100 steps from 1e-8 to 1, stopped at 4 × the best loss.

    `model` comes back as it was.

    Raises:
        Diverged: the losses were not finite long enough to suggest anything.
    """
    # Uncompiled: the rate is a constant to the compiler, and here it changes with each of a hundred steps.
    module = _Training(model, config, replace(engine, compiled=False), seed)
    trainer = _trainer(folder, engine, max_epochs=-1, callbacks=[])
    # The finder draws its progress bar come what may; it belongs in a terminal only.
    quiet = contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO())
    with quiet, _interruptible():
        finder = Tuner(trainer).lr_find(module, data.train_dataloader(), data.val_dataloader(), update_attr=False)
    assert finder is not None
    rates, losses = np.array(finder.results["lr"]), np.array(finder.results["loss"])
    return LearningRateCurve(rates.tolist(), losses.tolist(), steepest(rates, losses))


def steepest(rates: np.ndarray, losses: np.ndarray) -> float:
    """The one of `rates`, (N,), rising exponentially, after which `losses`, (N,), fall most steeply.

    Raises:
        Diverged: the losses were not finite long enough.
    """
    # Steepest per step, that is, per decade: Lightning's own suggestion divides by the step in the rate itself
    # and so falls for the noise at its tiny first values.
    kept = slice(10, -1)  # the first 10 and the last 1 say little
    slope = np.gradient(losses[kept]) if len(losses) >= 13 else np.full(1, np.nan)
    if not np.isfinite(slope).any():
        raise Diverged("the learning-rate finder saw no finite loss: give a learning_rate")
    return float(rates[kept][np.nanargmin(slope)])


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
        engine: what to train on; by default the quickest here, of those with `precision`.

    Raises:
        Diverged: the losses are no longer numbers.
        OutOfMemory: the memory of the GPU is full.
        AelibError: the checkpoint is damaged, a batch is too small for the model, there is no such precision here, or
            the model cannot be trained on a GPU.
    """
    _keep_freed_memory()
    split = data.config
    normalised = any(isinstance(each, torch.nn.modules.batchnorm._BatchNorm) for each in model.modules())
    if normalised and 1 in (split.batch_size, split.train % split.batch_size):
        raise AelibError(
            f"{split.train:,} training images in batches of {split.batch_size} leave a batch of one, which batch "
            "normalisation cannot take: choose another batch_size or number of images"
        )
    steps = config.max_epochs * len(data.train_dataloader()) if model.worth_compiling else 0
    engine = engine or choose_engine(steps, precision)
    if engine.compiled:
        # What is compiled is kept with the code, which all trainings of a process share: after some it would be full.
        torch.compiler.reset()
        compilation.mend()
    begin = {name: value.clone() for name, value in model.state_dict().items()} if engine.compiled else {}
    before, share = torch.get_num_threads(), _Share(threads, engine.compiled)
    options: dict[str, Any] = {"seed": seed, "folder": folder, "picture": picture, "watch": watch, "origin": origin}
    try:
        with _arithmetic(engine):
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


@contextlib.contextmanager
def _arithmetic(engine: Engine) -> Iterator[None]:
    """On a GPU: products of the engine's precision, of convolutions and of matrices, that repeat themselves."""
    if engine.device == "cpu":
        # Compiled code is of one number of threads; after some the compiler would give up, and be slow for good.
        with torch._dynamo.config.patch(recompile_limit=64) if engine.compiled else contextlib.nullcontext():
            yield
        return
    before, tf32 = torch.get_float32_matmul_precision(), engine.precision != "float32"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _fit(
    model: Model,
    data: GarmentLoaders,
    config: TrainingConfig,
    engine: Engine,
    share: _Share,
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
    module = _Training(model, config, engine, seed, share)
    if engine.graphed:
        module, loaders = _GraphedTraining(model, config, engine, seed, data), ([0], [0])  # an epoch is one batch
    path = folder / "checkpoint"
    share.before(0)
    recorder = _Recorder(path, picture, watch, origin, share)
    stopping = EarlyStopping("validation_loss", patience=config.patience, min_delta=config.min_delta)
    trainer = _trainer(folder, engine, max_epochs=config.max_epochs, callbacks=[stopping, recorder])
    finished = False
    _discard_other_codes(path, recorder)
    if path.exists():
        states = checkpoints.load(path)["callbacks"]
        recorder.load_state_dict(states[recorder.state_key])
        stopping.load_state_dict(states[stopping.state_key])
        # Lightning does not remember that it had decided to stop.
        finished = (
            stopping.stopping_reason != EarlyStoppingReason.NOT_STOPPED or len(recorder.rows) >= config.max_epochs
        )
        if watch:
            watch(recorder.rows, recorder.seconds)
    elif config.learning_rate is None:
        recorder.curve = find_learning_rate(model, data, config, seed=seed, folder=folder, engine=engine)
    if recorder.curve:
        module.learning_rate = recorder.curve.suggestion
    if not finished:
        with _interruptible(), progress.bar(config.max_epochs, len(recorder.rows)) as bar:
            recorder.bar = bar
            trainer.fit(module, *loaders, ckpt_path=path if path.exists() else None)
    last = recorder.rows[-1]
    if not np.isfinite(last["validation_loss"]):
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


def _discard_other_codes(path: Path, recorder: _Recorder) -> None:
    """Remove the checkpoint of a training that was begun by code that trains otherwise than that of `recorder`."""
    if not recorder.code or not path.exists():
        return
    state = checkpoints.load(path)["callbacks"][recorder.state_key]
    kept, version = state.get("code"), state.get("torch", torch.__version__)  # an older version of aelib kept none
    if version != torch.__version__ or not code.alike(kept, recorder.code):
        why = code.STALE if kept else code.UNRECORDED
        why = f"begun with torch {version}, here is {torch.__version__}" if version != torch.__version__ else why
        print(f"aelib: the checkpoint {path} is not gone on from ({why}): training from the start", file=sys.stderr)
        path.unlink()


def peak_memory() -> int:
    """The largest resident memory of this process so far, in bytes."""
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
