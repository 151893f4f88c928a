"""On a GPU: what is computed there is what a processor computes, and a training repeats itself bit for bit."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aelib import engines, lightning, training
from aelib.data import GarmentLoaders, SplitConfig, synthetic
from aelib.errors import AelibError
from aelib.experiments import EXPERIMENTS, configure
from aelib.hyperparameters import TrainingConfig
from aelib.models import SymmetricAutoencoder

pytestmark = pytest.mark.gpu

ODD = SplitConfig(train=128 * 3 + 40, validation=150, test=100, batch_size=128)
"""With a last batch of its own size."""


def loaders(name, split=ODD):
    garments = synthetic.garments(split.train + split.validation, split.test)
    if (shape := fresh(name).input_shape) != garments.train_images.shape[1:]:  # features in place of images
        garments = replace(garments, train_images=torch.rand(len(garments.train_images), *shape))
    return GarmentLoaders(garments, split, seed=1)


def fresh(name, **parameters):
    torch.manual_seed(0)
    experiment = configure(EXPERIMENTS[name], **parameters)
    return experiment.model_class(experiment.model)


def train(name, folder, epochs=3, **parameters):
    folder.mkdir(exist_ok=True)
    model = fresh(name)
    experiment = configure(EXPERIMENTS[name], max_epochs=epochs, **parameters)
    history = training.fit(model, loaders(name), experiment.training, seed=5, folder=folder)
    return history, {key: value.cpu() for key, value in model.state_dict().items()}


def test_the_gpu_is_taken():
    assert engines.choose_engine(1).device == "cuda"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_losses_and_gradients_are_those_of_a_processor(name):
    """In float32 on both sides, without what is drawn at random; two ways of a processor differ by as much."""
    found = {}
    batch = next(iter(loaders(name).val_dataloader()))
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for device in ("cpu", "cuda"):
            model = fresh(name).to(device).eval()
            terms = model.losses(*(each.to(device) for each in batch))
            terms["loss"].mean().backward()
            found[device] = {key: term.detach().cpu() for key, term in terms.items()}
            gradients = {key: each.grad for key, each in model.named_parameters() if each.grad is not None}
            found[device] |= {f"gradient of {key}": gradient.cpu() for key, gradient in gradients.items()}
    assert found["cuda"].keys() == found["cpu"].keys()
    for key, expected in found["cpu"].items():
        assert (found["cuda"][key] - expected).norm() <= 2e-3 * expected.norm(), key


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_graphs_train_as_single_launches_do(name, tmp_path, monkeypatch):
    """The same steps, kernel by kernel: dropout, noise, running statistics and the odd last batch included."""
    graphed = train(name, tmp_path / "graphs")
    monkeypatch.setattr(lightning, "_graph", lambda work: [work() for _ in range(4)] and work)
    launched = train(name, tmp_path / "single launches")
    assert graphed[0].rows[-1] == pytest.approx(launched[0].rows[-1], rel=1e-5)
    for key, value in launched[1].items():
        torch.testing.assert_close(graphed[1][key], value, rtol=1e-3, atol=1e-5, msg=key)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_same_seed_gives_the_same_bits(name, tmp_path):
    first, again = train(name, tmp_path / "first"), train(name, tmp_path / "again")
    assert first[0].rows == again[0].rows
    assert all(torch.equal(value, again[1][key]) for key, value in first[1].items())


@pytest.mark.parametrize("optimizer", lightning.OPTIMIZERS)
def test_resumed_it_ends_with_the_same_bits(optimizer, tmp_path):
    options = {"optimizer": optimizer, "learning_rate": 1e-3}
    undisturbed = train("denoising", tmp_path / "a", epochs=5, **options)
    for epochs in (1, 3, 5):  # each ends with a checkpoint
        resumed = train("denoising", tmp_path / "b", epochs=epochs, **options)
    assert resumed[0].rows == undisturbed[0].rows
    assert all(torch.equal(value, undisturbed[1][key]) for key, value in resumed[1].items())


def test_what_a_gpu_began_a_processor_goes_on_with_and_the_reverse(tmp_path, monkeypatch):
    for devices in (("cuda", "cpu"), ("cpu", "cuda")):
        folder = tmp_path / devices[0]
        for epochs, device in enumerate(devices, start=1):
            with monkeypatch.context() as patch:
                patch.setattr(torch.cuda, "is_available", lambda device=device: device == "cuda")
                history, _ = train("convolutional", folder, epochs=epochs)
            assert history.engine.device == device
        assert len(history.rows) == 2
        assert history.rows[1]["train_loss"] < history.rows[0]["train_loss"]


def test_a_step_that_waits_for_the_gpu_is_named(tmp_path):
    class Waits(SymmetricAutoencoder):
        def losses(self, images, labels):
            terms = super().losses(images, labels)
            assert terms["loss"].sum().item() > 0
            return terms

    with pytest.raises(AelibError, match="a step of this model waits for the GPU"):
        training.fit(Waits(), loaders("convolutional"), TrainingConfig(max_epochs=1), seed=0, folder=tmp_path)
    history, _ = train("convolutional", tmp_path / "and another trains on", epochs=1)
    assert history.engine.device == "cuda"


def test_a_full_memory_is_named_and_loses_nothing(tmp_path):
    """Another process goes on; in this one PyTorch's allocator still waits for the end of the recording."""
    program = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from test_gpu import train
history, _ = train("convolutional", Path({folder!r}), epochs=1)
torch.cuda.empty_cache()
if {fill}:
    filled = torch.empty(torch.cuda.mem_get_info()[0] - 24 * 2**20, dtype=torch.uint8, device="cuda")
history, _ = train("convolutional", Path({folder!r}), epochs=2)
print(len(history.rows))
"""
    said = []
    for fill in (True, False):
        command = program.format(tests=str(Path(__file__).parent), folder=str(tmp_path), fill=fill)
        said.append(subprocess.run([sys.executable, "-c", command], capture_output=True, text=True))
        assert (tmp_path / "checkpoint").exists()
    assert said[0].stderr.splitlines()[-1].startswith("aelib.engines.OutOfMemory: the memory of the GPU is full")
    assert said[1].stdout == "2\n", said[1].stderr


def test_a_gpu_without_room_is_left_alone(tmp_path, capsys):
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    filled = torch.empty(free - 200 * 2**20, dtype=torch.uint8, device="cuda")
    try:
        engines._gpu_has_room.cache_clear()
        history, _ = train("convolutional", tmp_path, epochs=1)
    finally:
        del filled
        torch.cuda.empty_cache()
        engines._gpu_has_room.cache_clear()
    assert history.engine.device == "cpu"
    assert "too few: training on the processor" in capsys.readouterr().err
