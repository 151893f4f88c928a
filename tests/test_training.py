"""Training: the best weights are kept, the same seed gives the same bits, a killed training goes on."""

import hashlib
import os
import platform
import signal
from dataclasses import replace

import pytest
import tiny
import torch
from conftest import lacking

from aelib import checkpoints, compilation, engines, lightning, training
from aelib.data import GarmentLoaders, SplitConfig, synthetic
from aelib.errors import AelibError
from aelib.experiments import EXPERIMENTS
from aelib.hyperparameters import TrainingConfig
from aelib.models import AutoencoderConfig, SymmetricAutoencoder
from aelib.models.layers import Conv
from aelib.training import Engine, find_learning_rate, fit

TINY = tiny.NETWORK
SHALLOW = AutoencoderConfig(conv=(Conv(3, 2, 1),), channels=(4,), linear_units=8, latent_dim=4)
"""One layer, for what is compiled."""


def digest(model, history) -> str:
    """Of all that a training leaves behind but its time."""
    content = [value.numpy().tobytes() for value in model.state_dict().values()]
    content += [repr((history.rows, history.best_epoch, history.curve)).encode(), history.pictures.numpy().tobytes()]
    return hashlib.sha256(b"".join(content)).hexdigest()


def train(loaders, folder, *, seed=3, network=TINY, threads=None, precision=None, **options):
    folder.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    model = SymmetricAutoencoder(network)
    picture = loaders.garments.test_images[:1].float() / 255
    config = TrainingConfig(**{"max_epochs": 5} | options)
    given = {"picture": picture, "threads": threads, "precision": precision}
    return model, fit(model, loaders, config, seed=seed, folder=folder, **given)


@pytest.fixture
def few():
    """64 training and 16 validation garments; the last of three batches is odd."""
    return few_loaders()


def few_loaders() -> GarmentLoaders:
    split = SplitConfig(train=64, validation=16, test=40, batch_size=24)
    return GarmentLoaders(tiny.PROFILE.garments(), split, seed=1)


def test_the_same_seed_gives_the_same_bits(two_threads, few, tmp_path):
    first, again, other = (
        digest(*train(few, tmp_path / name, seed=seed, max_epochs=2)) for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("options", "not_the"),
    [({"max_epochs": 4}, "first"), ({"optimizer": "sgd", "learning_rate": 1.0, "max_epochs": 8}, "last")],
)
def test_the_best_epoch_is_kept_whichever_it_is(options, not_the, small, tmp_path):
    model, history = train(small, tmp_path, **options)
    losses = [row["validation_loss"] for row in history.rows]
    assert history.best_epoch != {"first": 1, "last": len(losses)}[not_the]
    assert losses[history.best_epoch - 1] == min(losses)
    images, labels = next(iter(small.val_dataloader()))
    with torch.no_grad():
        now = model.losses(images, labels)["loss"].mean().item()
    assert now == pytest.approx(min(losses), rel=1e-6)
    assert not model.training


def test_it_stops_when_the_loss_no_longer_falls(small, tmp_path):
    _, history = train(small, tmp_path, max_epochs=50, patience=2, min_delta=0.5)
    assert len(history.rows) == 3  # the first, and two without improvement
    assert history.pictures.shape == (3, 28, 28)


@pytest.fixture
def compiler():
    """The C++ compiler, which takes two seconds for each of some ten pieces of a layer."""
    if not compilation.works():
        lacking("C++ compiler on Linux (Debian: g++)")


PROGRAM = (
    tiny.BEGIN
    + """
from pathlib import Path
from aelib import lightning, training
from test_training import digest, few_loaders, train
{then}
print(digest(*train(few_loaders(), Path("run"), learning_rate=None)))
"""
)


def test_killed_at_any_moment_it_ends_with_the_same_bits(two_threads, few, tmp_path, python, all_tiny):
    """With real SIGKILLs: in the learning-rate finder, in the first epoch, after one, and in a later one."""
    undisturbed = digest(*train(few, tmp_path / "undisturbed", learning_rate=None))
    epochs = []
    for moment in (
        f"lightning.Training, 'training_step', {tiny.FINDER_STEPS - 5}",
        f"lightning.Training, 'training_step', {tiny.FINDER_STEPS + 2}",
        "training._Recorder, 'on_train_epoch_end', 2",
        "lightning.Training, 'training_step', 5",
    ):
        (process := python(PROGRAM.format(then=f"tiny.dies_in({moment})"))).communicate()
        assert process.returncode == -signal.SIGKILL, f"{moment}: {process.errors()}"
        epochs.append(_epochs(tmp_path / "run/checkpoint"))
    assert epochs == [0, 0, 2, 3]
    output, errors = (process := python(PROGRAM.format(then=""))).communicate()
    assert process.returncode == 0, errors
    assert output.strip() == undisturbed


def _epochs(path) -> int:
    """Number of epochs that a checkpoint holds, 0 where there is none."""
    if not path.exists():
        return 0
    states = checkpoints.load(path)["callbacks"].values()
    return max(len(state.get("rows", [])) for state in states)


@pytest.mark.long
def test_compiled_and_resumed_it_ends_with_the_same_bits(compiler, two_threads, tmp_path, monkeypatch):
    """With an odd last batch, after which the compiler would like to use other kernels."""
    monkeypatch.setattr(engines, "COMPILE_FROM_STEPS", 1)
    split = SplitConfig(train=256 + 40, validation=64, test=100, batch_size=128)
    loaders = GarmentLoaders(synthetic.garments(400, 100), split, seed=1)
    undisturbed = digest(*train(loaders, tmp_path / "a", network=SHALLOW, max_epochs=3))
    train(loaders, tmp_path / "b", network=SHALLOW, max_epochs=2)
    torch._dynamo.reset()  # as in a new process
    assert digest(*train(loaders, tmp_path / "b", network=SHALLOW, max_epochs=3)) == undisturbed


@pytest.mark.parametrize("name", lightning.OPTIMIZERS)
def test_compiled_the_optimiser_makes_the_same_steps(name, compiler):
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = SymmetricAutoencoder(SHALLOW)
        before = model.latent.weight.detach().clone()
        config = TrainingConfig(optimizer=name, learning_rate=0.01, weight_decay=0.1)
        trainer = lightning.Training(model, config, Engine("cpu", "float32", compiled=compiled), 0)
        optimizer = trainer.configure_optimizers()
        for step in range(3):

            def closure(model=model, step=step):
                for parameter in model.parameters():
                    parameter.grad = (parameter.detach() + step).cos() if parameter.requires_grad else None

            if compiled:
                trainer.optimizer_step(0, step, optimizer, closure)
            else:
                closure()
                optimizer.step()
        assert (model.latent.weight - before).abs().min() > 1e-4
        found.append(model.state_dict())
    for (key, eager), compiled in zip(found[0].items(), found[1].values(), strict=True):
        torch.testing.assert_close(compiled, eager, msg=key)


def test_one_process_compiles_any_number_of_trainings(small, tmp_path, monkeypatch):
    """What is compiled is kept with the code, and at most so many times for one function.

    Without C++: that is the same whatever becomes of the graphs.
    """
    monkeypatch.setattr(engines, "COMPILE_FROM_STEPS", 1)
    monkeypatch.setattr(compilation, "works", lambda: True)
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda work, dynamic, **_: real(work, dynamic=dynamic, backend="eager"))
    split = SplitConfig(train=256, validation=64, test=100, batch_size=128)
    loaders = GarmentLoaders(small.garments, split, seed=1)
    with torch._dynamo.config.patch(recompile_limit=1, fail_on_recompile_limit_hit=True):
        for folder in ("a", "b"):
            train(loaders, tmp_path / folder, max_epochs=1)


def test_means_over_an_epoch_are_over_its_images(tmp_path):
    """With an odd last batch, whose images count no more than the others."""
    loaders = GarmentLoaders(synthetic.garments(1000, 100), SplitConfig(train=300, validation=700, test=100))
    model, history = train(loaders, tmp_path, max_epochs=1, learning_rate=1e-12)
    losses = [model.losses(*batch)["loss"] for batch in loaders.val_dataloader()]
    assert [len(each) for each in losses] == [500, 200]
    assert history.rows[0]["validation_loss"] == pytest.approx(torch.cat(losses).mean().item(), rel=1e-6)
    torch.manual_seed(3)
    trainer = lightning.Training(SymmetricAutoencoder(TINY), TrainingConfig(), history.engine, 0)
    trainer._record("train", {"loss": torch.tensor([1.0, 2.0, 3.0])})
    trainer._record("train", {"loss": torch.tensor([6.0])})
    assert trainer._sums["train"]["loss"] / trainer._counts["train"] == 3


@pytest.mark.parametrize("conv", [(Conv(3, 2, 1), Conv(3, 2, 1)), (Conv(4, 3, 0),)])
def test_compiled_the_gradients_are_the_same(conv, compiler):
    """The compiled instance norm has a gradient of its own, which an activation in place would spoil unseen."""
    torch.manual_seed(0)
    config = AutoencoderConfig(conv=conv, channels=(8,) * len(conv), linear_units=32, latent_dim=4)
    model = SymmetricAutoencoder(config).train()
    images, labels = torch.rand(16, 1, 28, 28), torch.zeros(16, dtype=torch.long)
    found = []
    for losses in (model.losses, torch.compile(model.losses, dynamic=False, options=engines.COMPILER_OPTIONS)):
        model.zero_grad()
        torch.manual_seed(1)  # the same dropout
        losses(images, labels)["loss"].mean().backward()
        found.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
    plain, compiled = found
    assert plain.keys() == compiled.keys()
    for name, gradient in plain.items():
        assert (compiled[name] - gradient).norm() <= 1e-2 * gradient.norm(), name


def test_a_finished_training_is_not_trained_further(small, tmp_path):
    first = digest(*train(small, tmp_path, max_epochs=40, patience=1, min_delta=0.5))
    assert digest(*train(small, tmp_path, max_epochs=40, patience=1, min_delta=0.5)) == first
    _, history = train(small, tmp_path, max_epochs=40, patience=1, min_delta=0.5)
    assert len(history.rows) == 2


def test_a_diverging_training_is_named(small, tmp_path):
    with pytest.raises(AelibError, match=r"diverged in epoch 1 at learning rate 1: take a smaller learning_rate"):
        train(small, tmp_path, optimizer="sgd", learning_rate=1.0, weight_decay=1e12)


def test_a_damaged_checkpoint_is_named(small, tmp_path):
    train(small, tmp_path, max_epochs=1)
    path = tmp_path / "checkpoint"
    content = bytearray(path.read_bytes())
    for damaged in (content[:-9], content[:200], b"", bytes(content[:-1]) + bytes([content[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(AelibError, match="checkpoint is truncated or altered: delete it"):
            train(small, tmp_path, max_epochs=2)


def test_the_finder_suggests_a_sensible_rate_and_leaves_the_model_alone(small, tmp_path):
    torch.manual_seed(0)
    model = SymmetricAutoencoder(TINY)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    engine = Engine("cpu", "float32", compiled=False)
    curve = find_learning_rate(model, small, TrainingConfig(learning_rate=None), seed=0, folder=tmp_path, engine=engine)
    assert 1e-4 < curve.suggestion < 0.5
    assert curve.learning_rates[0] == pytest.approx(1e-8, rel=0.3)
    assert len(curve.losses) == len(curve.learning_rates) <= 100
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_found_rate_is_the_one_that_is_used(small, tmp_path):
    _, history = train(small, tmp_path, learning_rate=None, max_epochs=2)
    assert {row["learning_rate"] for row in history.rows} == {history.curve.suggestion}


def test_without_a_compiler_it_trains_all_the_same(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engines, "COMPILE_FROM_STEPS", 1)
    monkeypatch.setenv("CXX", "no-such-compiler")
    compilation.available.cache_clear()
    _, history = train(small, tmp_path, max_epochs=1)
    compilation.available.cache_clear()
    assert not history.engine.compiled
    assert capsys.readouterr().err.count("no C++ compiler") == 1


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("optimizer", "adamw", "optimizer must be one of adam, sgd, adamax, not 'adamw'"),
        ("learning_rate", 0, r"learning_rate must be a number in \(0, 1\]"),
        ("learning_rate", float("nan"), "learning_rate must be"),
        ("learning_rate", "0.1", "learning_rate must be"),
        ("weight_decay", -1e-9, "weight_decay must be a number of at least 0"),
        ("max_epochs", 0, "max_epochs must be a whole number of at least 1"),
        ("patience", 1.5, "patience must be"),
        ("min_delta", float("inf"), "min_delta must be"),
    ],
)
def test_wrong_values_are_named(field, value, words):
    with pytest.raises(AelibError, match=words):
        TrainingConfig(**{field: value})


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_training_step_waits_for_no_device(name):
    """On PyTorch's "meta" device: whatever reads a number from it, or mixes in the processor's tensors, fails there."""
    experiment = EXPERIMENTS[name]
    model = experiment.model_class(experiment.model).train().to("meta")
    garments = synthetic.garments(600, 100)
    if model.input_shape != garments.train_images.shape[1:]:  # features in place of images
        garments = replace(garments, train_images=torch.rand(600, *model.input_shape))
    loaders = GarmentLoaders(garments, SplitConfig(train=300, validation=300, test=100)).on("meta")
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = lightning.OPTIMIZERS[experiment.training.optimizer](parameters)
    engine = Engine("cpu", "float32", compiled=False)
    trainer = lightning.Training(model, experiment.training, engine, 0)
    for index, batch in enumerate(loaders.train_dataloader()):
        loss = trainer.training_step(batch, index)
        loss.backward()
        optimizer.step()
    assert {parameter.grad.device.type for parameter in parameters} == {"meta"}
    with pytest.raises(RuntimeError, match="meta"):
        loss.item()


def test_the_compiler_knows_its_options():
    """It refuses unknown ones when it is asked, before it compiles anything."""
    torch.compile(torch.nn.Identity(), options=engines.COMPILER_OPTIONS)
    with pytest.raises(RuntimeError, match="Unexpected optimization option"):
        torch.compile(torch.nn.Identity(), options=engines.COMPILER_OPTIONS | {"no_such": True})


@pytest.mark.parametrize("free", [None, 10 * 2**20, 2**34])
def test_a_gpu_without_room_is_left_alone(free, monkeypatch, capsys):
    """There is none here: what PyTorch says of it is made up."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)

    def mem_get_info():
        if free is None:
            raise RuntimeError("CUDA error: out of memory")
        return free, 2**35

    monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
    engines._gpu_has_room.cache_clear()
    devices = {engines.choose_engine(steps).device for steps in (1, 1)}
    engines._gpu_has_room.cache_clear()
    said = capsys.readouterr().err
    if free is None or free < engines.GPU_NEEDS:
        assert devices == {"cpu"}
        assert said == f"aelib: the GPU has {0 if free is None else 10} MiB free, too few: training on the processor\n"
    else:
        assert devices == {"cuda"}
        assert said == ""


@pytest.mark.parametrize(
    ("can", "bf16"),
    [
        ({}, False),
        ({"sse4a": True}, False),
        ({"avx512_bf16": True, "sse4a": False, "amx_bf16": False}, False),
        ({"avx512_bf16": True, "sse4a": True, "amx_bf16": False}, True),
        ({"avx512_bf16": True, "sse4a": False, "amx_bf16": True}, True),
    ],
)
def test_a_processor_trains_in_bf16_where_that_is_quicker(can, bf16, monkeypatch):
    if hasattr(torch.cpu, "get_capabilities") and platform.machine() == "x86_64":
        assert can.keys() <= torch.cpu.get_capabilities().keys()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert engines.choose_engine(1).precision == ("bf16" if bf16 else "float32")


def test_a_processor_without_bf16_trains_in_float32(monkeypatch, small, tmp_path):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = SymmetricAutoencoder(AutoencoderConfig(channels=(8, 8, 8), linear_units=32, latent_dim=4))
    history = training.fit(model, small, TrainingConfig(max_epochs=1), seed=0, folder=tmp_path)
    assert history.engine.precision == "float32"
    assert history.rows[0]["validation_loss"] < 1


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """An epoch is one batch to Lightning, as on a GPU; what would be recorded there is done anew each time."""

    def done_and_kept(work):
        for _ in range(4):  # as many times as `_graph` does it
            work()
        return work

    monkeypatch.setattr(lightning, "_graph", done_and_kept)
    monkeypatch.setattr(Engine, "graphed", True)


@pytest.mark.parametrize("optimizer", lightning.OPTIMIZERS)
def test_an_epoch_in_one_go_is_the_same_epoch(optimizer, tmp_path, request):
    """With an odd last batch, and a picture after each epoch."""
    split = SplitConfig(train=64 * 3 + 40, validation=64, test=100, batch_size=64)
    loaders = GarmentLoaders(synthetic.garments(400, 100), split, seed=1)
    options = {"optimizer": optimizer, "max_epochs": 2}
    expected = digest(*train(loaders, tmp_path / "by Lightning's loop", **options))
    request.getfixturevalue("as_on_a_gpu")
    assert digest(*train(loaders, tmp_path / "in one go", **options)) == expected


def test_an_epoch_in_one_go_with_running_statistics(small, tmp_path, request):
    """What batch norm keeps is as if nothing had been rehearsed."""
    found = []
    for folder in ("by Lightning's loop", "in one go"):
        (tmp_path / folder).mkdir()
        torch.manual_seed(0)
        model = EXPERIMENTS["cnn"].model_class(EXPERIMENTS["cnn"].model)
        fit(model, small, TrainingConfig(max_epochs=1), seed=0, folder=tmp_path / folder)
        found.append(model.state_dict())
        request.getfixturevalue("as_on_a_gpu")
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_epochs_in_one_go_are_resumed_with_the_same_bits(small, tmp_path, as_on_a_gpu, monkeypatch):
    undisturbed = digest(*train(small, tmp_path / "a", max_epochs=4))
    for epochs in (1, 3, 4):
        found = digest(*train(small, tmp_path / "b", max_epochs=epochs))
    assert found == undisturbed


def test_the_precision_is_that_asked_for_or_the_quickest(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert engines.choose_engine(1).precision == "bf16"
    assert engines.choose_engine(1, "float32").precision == "float32"
    with pytest.raises(AelibError, match="precision must be one of float32, bf16, not 'float16'"):
        engines.choose_engine(1, "float16")
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.raises(AelibError, match="precision must be one of float32, not 'bf16'"):
        engines.choose_engine(1, "bf16")


def test_a_training_ends_on_the_engine_that_it_was_begun_on(small, tmp_path, monkeypatch, capsys):
    """Or begins again: its bits are those of one engine."""
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    quick = {"amx_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: quick)
    whole = digest(*train(small, tmp_path / "whole", max_epochs=3))
    plain = digest(*train(small, tmp_path / "plain", max_epochs=3, precision="float32"))
    assert plain != whole
    for name, precision in (("asked for", "float32"), ("as it was", None)):
        train(small, tmp_path / name, max_epochs=2)
        again = digest(*train(small, tmp_path / name, max_epochs=3, precision=precision))
        assert again == (plain if precision else whole)
        said = "is not gone on from (begun in bf16 on cpu, not compiled, here it is in float32 on cpu, not compiled)"
        assert (said in capsys.readouterr().err) is bool(precision)
    train(small, tmp_path / "plainer", max_epochs=2, precision="float32")
    assert digest(*train(small, tmp_path / "plainer", max_epochs=3)) == plain, "the quickest is not asked for"
    train(small, tmp_path / "elsewhere", max_epochs=2)
    quick.clear()
    assert digest(*train(small, tmp_path / "elsewhere", max_epochs=3)) == plain


def test_variables_of_lightning_change_no_training(few, tmp_path, monkeypatch):
    before = digest(*train(few, tmp_path / "before", max_epochs=2))
    for name, value in {"FAST_DEV_RUN": "1", "GRADIENT_CLIP_VAL": "0.001", "ACCUMULATE_GRAD_BATCHES": "4"}.items():
        monkeypatch.setenv(f"PL_TRAINER_{name}", value)
    assert digest(*train(few, tmp_path / "after", max_epochs=2)) == before
    assert os.environ["PL_TRAINER_FAST_DEV_RUN"] == "1", "they are the user's"


@pytest.mark.parametrize("kept", [{"device": "cpu", "bf16": True}, {"device": "cpu", "precision": "bf16"}])
def test_the_engine_of_a_stored_run_is_taken_where_it_is_to_be_had(kept, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert engines.same_engine(kept) is None
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert engines.same_engine(kept) == Engine("cpu", "bf16", compiled=False)
    assert engines.same_engine({"device": "cpu"}) == Engine("cpu", "float32", compiled=False)
