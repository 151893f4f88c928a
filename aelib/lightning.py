"""Models as Lightning trains them: an epoch step by step, or, on a GPU, as launches of one recorded step."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import CheckpointIO
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import Tensor

from aelib import checkpoints
from aelib.cores import Share
from aelib.data import Batches, GarmentLoaders, epoch_seed
from aelib.engines import COMPILER_OPTIONS, Engine, out_of_memory
from aelib.errors import AelibError
from aelib.hyperparameters import OPTIMIZERS, SGD_MOMENTUM, TrainingConfig
from aelib.models import Model

PLAIN, REPORTS = Engine("cpu", "float32", compiled=False), TrainingConfig()


class Training(pl.LightningModule):
    """Any model of aelib as Lightning wants it, in a loop of one's own as well.

    It logs the mean of each loss term over each epoch, `train_…` and `validation_…`.

    Args:
        model: what is trained.
        config: how, but for the number of epochs and the early stopping, which are the loop's to say.
        engine: in which precision, and whether compiled; by default as it is.
        seed: of dropout and noise.
        share: of the cores, if others may need them.
    """

    def __init__(
        self,
        model: Model,
        config: TrainingConfig = REPORTS,
        engine: Engine = PLAIN,
        seed: int = 0,
        share: Share | None = None,
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
        groups = self.model.parameter_groups(self.config.weight_decay)
        options = {"momentum": SGD_MOMENTUM} if self.config.optimizer == "sgd" else {}
        # The finder overwrites the rate; it only needs some optimiser to start from.
        rate = self.learning_rate or 1e-8
        chosen = OPTIMIZERS[self.config.optimizer]
        optimizer = chosen(groups, lr=rate, **options)
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


class GraphedTraining(Training):
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


class PlainCheckpoints(CheckpointIO):
    """Lightning's checkpoints as safetensors and JSON: nothing in them can run."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        checkpoints.save(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return checkpoints.load(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def trainer(folder: Path, engine: Engine, **options: Any) -> pl.Trainer:
    """Lightning's, on `engine`, without what it would print and write of its own; `options` are its own."""
    with running(), _without_variables():
        return pl.Trainer(
            accelerator="gpu" if engine.device == "cuda" else engine.device,
            devices=1,
            default_root_dir=folder,
            # One process, on a cluster as well: from its variables Lightning would make this one of many, and take over
            # its signals.
            plugins=[PlainCheckpoints(), LightningEnvironment()],
            logger=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
            **options,
        )


@contextlib.contextmanager
def _without_variables() -> Iterator[None]:
    """Without `PL_TRAINER_…`, where Lightning looks for what it is not told: the run would be another, unsaid."""
    hidden = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith("PL_TRAINER_")}
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextlib.contextmanager
def running() -> Iterator[None]:
    """While Lightning trains: its advice is left out, and Ctrl-C, or the exit that a SIGTERM asks for, is what it was.

    Its advice (loader workers, GPU present but unused) does not apply to a set that is in memory, and that a profiler
    would not see into the compiled step of the optimiser is nobody's concern. It would turn Ctrl-C into an exit.
    """
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            for logger in loggers:
                logger.setLevel(logging.ERROR)
                warnings.filterwarnings("ignore", module=logger.name)
            yield
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


TALKATIVE = (
    "pytorch_lightning",
    "lightning_fabric",
    "torch.utils.cpp_extension",
    "torch._dynamo.variables.ctx_manager",
    "torch._inductor.output_code",
)
