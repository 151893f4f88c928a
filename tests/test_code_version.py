"""A run knows the code that made it: what was changed on purpose is found, what trains alike stands."""

import hashlib
import itertools
import json
import subprocess
import sys
import textwrap
from functools import cache

import numpy as np
import pytest
import torch
from faults import tried
from processes import PATIENCE
from test_verify import retouch
from torch import nn

from aelib import (
    cli,
    code_version,
    corruption,
    data,
    epochs,
    experiments,
    finder,
    hyperparameters,
    lightning,
    probe,
    runs,
    training,
)
from aelib.data import batches
from aelib.experiments import making, origin
from aelib.models import AutoencoderConfig, BaselineCNN, SymmetricAutoencoder, kernels, layers
from aelib.models.denoising import DenoisingConfig

SMALL = {"channels": (4, 4, 8), "linear_units": 16, "latent_dim": 4}


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """Each test probes anew."""
    monkeypatch.setattr(probe, "_FOUND", {})
    code_version.say.cache_clear()


@pytest.fixture
def edited(monkeypatch):
    """Call it where decisive code is changed: its digest is another, and what was probed is forgotten."""

    numbers = itertools.count()

    def edit():
        number = next(numbers)
        monkeypatch.setattr(code_version, "digest", lambda: f"another, number {number}")
        monkeypatch.setattr(code_version, "whole", lambda: f"another, number {number}")
        probe._FOUND.clear()

    return edit


def record(name, **parameters):
    return origin.record(experiments.configure(experiments.EXPERIMENTS[name], **parameters), None)


@cache
def unedited(name, *parameters):
    """What the code as it is records, found once."""
    return record(name, **dict(parameters))


class _Reversed(data.Batches):
    def __iter__(self):
        yield from reversed(list(super().__iter__()))


def _slope(patch):
    begin = nn.LeakyReLU.__init__
    patch.setattr(nn.LeakyReLU, "__init__", lambda self, slope=0.02: begin(self, slope))


def _dropout(patch):
    begin = kernels.DroppingLeakyReLU.__init__
    patch.setattr(kernels.DroppingLeakyReLU, "__init__", lambda self, dropout: begin(self, 1.2 * dropout))


def _kernel(patch):
    begin = BaselineCNN.__init__

    def smaller(self, config=None):
        begin(self, config)
        self.layers[6] = layers.without_bias_gradient(kernels.QuickConv2d(64, 32, 5, 1, 2))

    patch.setattr(BaselineCNN, "__init__", smaller)


def _momentum(patch):
    patch.setattr(lightning, "SGD_MOMENTUM", 0.9)


def _erased(patch):
    other = property(lambda self: corruption.Corruption(probability=self.probability, erased_area=(0.02, 0.3)))
    patch.setattr(DenoisingConfig, "corruption", other)


def _occluded(patch):
    occlude = corruption.occlude
    patch.setattr(corruption, "occlude", lambda images: occlude(images, 0.33))


def _never_stops(patch):
    length = epochs.length
    patch.setattr(epochs, "length", lambda losses, **limits: length(losses, **limits | {"patience": 100}))


def _finder(patch):
    """It no longer leaves out the first ten steps, which matters to few curves."""
    patch.setattr(finder, "steepest", lambda rates, losses: float(rates[:-1][np.argmin(np.gradient(losses[:-1]))]))


EDITS = {
    "the slope of the LeakyReLU": (_slope, "convolutional", {}),
    "the dropout": (_dropout, "convolutional", {}),
    "a kernel of the CNN": (_kernel, "cnn", {}),
    "the momentum": (_momentum, "convolutional", {"optimizer": "sgd"}),
    "the erased area": (_erased, "denoising", {"learning_rate": 0.01}),
    "the largest rectangle of the CNN": (_occluded, "cnn_augmented", {}),
    "the learning-rate finder": (_finder, "denoising", SMALL),
    "the order of the batches": (lambda patch: patch.setattr(batches, "Batches", _Reversed), "convolutional", {}),
    "the seed of an epoch": (lambda patch: patch.setattr(lightning, "epoch_seed", lambda *_: 7), "variational", {}),
    "the weight of the divergence": (
        lambda patch: patch.setattr("aelib.models.variational.kl_to_standard_normal", lambda m, _: m.square().sum(1)),
        "variational", {},
    ),
    "when a training stops": (_never_stops, "convolutional", {}),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_that_trains_otherwise_is_found(edit, edited, monkeypatch):
    change, name, parameters = EDITS[edit]
    before = unedited(name, *parameters.items())
    change(monkeypatch)
    edited()
    assert not code_version.alike(before, record(name, **parameters))


def _same_product(patch):
    def forward(self, x):
        return torch.einsum("bi,oi->bo", x, self.weight) + self.bias

    patch.setattr(nn.Linear, "forward", forward)


def test_a_quicker_form_of_the_same_is_not_complained_about(edited, monkeypatch):
    before = {name: unedited(name) for name in ("convolutional", "cnn")}
    _same_product(monkeypatch)
    edited()
    after = {name: record(name) for name in before}
    for name, each in before.items():
        assert each["digest"] != after[name]["digest"]
        assert code_version.alike(each, after[name])
        assert each["probe"] != after[name]["probe"], "the product was computed in another way"


def test_words_and_layout_are_not_in_the_digest():
    one = '"""A."""\nX = 1\n"""What X is."""\n\ndef f(a):\n    """Doc."""\n    return a  # so\n'
    other = "X = 1\ndef f(a):\n\n    return (a)\n"
    assert code_version.bare(one) == code_version.bare(other)
    assert code_version.bare(one) != code_version.bare(one.replace("return a", "return -a"))
    names = {path.relative_to(runs.ROOT / "aelib").as_posix() for path in code_version._files()}
    some = {"training.py", "data/batches.py", "corruption.py", "models/layers.py", "models/base.py", "probe.py"}
    assert some <= names


def smoke(folder, **options):
    """A run that takes a second."""
    parameters = SMALL | {"optimizer": "sgd", "max_epochs": 1, "summary": True}
    return experiments.obtain("convolutional", profile="smoke", folder=folder, **parameters, **options)


def test_a_run_of_other_code_is_stale_and_everything_that_reads_it_says_so(tmp_path, edited, monkeypatch, capsys):
    monkeypatch.setenv("AELIB_RESULTS", str(tmp_path))
    monkeypatch.setattr(runs, "ROOT", tmp_path)  # where no book is built
    run = smoke(tmp_path)
    assert set(run.provenance["code"]) == {"digest", "probe"}
    assert "code" not in run.config
    edited()
    assert smoke(tmp_path).checksum == run.checksum
    assert "stale" not in capsys.readouterr().err, "it trains alike"
    assert cli.main(["verify", "--profile", "smoke"]) == 0
    monkeypatch.setattr(lightning, "SGD_MOMENTUM", 0.5)
    edited()
    code_version.say.cache_clear()
    assert smoke(tmp_path).checksum == run.checksum, "it is not trained again unasked"
    smoke(tmp_path)
    said = f"run {run.path.name}: {code_version.STALE}; again: `rm -r {run.path}  # and ask for it again`"
    assert capsys.readouterr().err.count(said) == 1
    assert cli.main(["verify", "--profile", "smoke"]) == 1
    assert f"{run.path.name}: {code_version.STALE}" in capsys.readouterr().out
    assert smoke(tmp_path, again=True).provenance["code"]["digest"] == code_version.digest()
    assert cli.main(["verify", "--profile", "smoke"]) == 0


def test_a_run_whose_code_was_not_recorded_is_called_so_and_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AELIB_RESULTS", str(tmp_path))
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    run = smoke(tmp_path)

    def older(content):
        provenance = json.loads(content)
        del provenance["code"]
        return json.dumps(provenance).encode()

    retouch(run.path, "provenance.json", older)
    smoke(tmp_path)
    assert capsys.readouterr().err.endswith(f"aelib: run {run.path.name}: {code_version.UNRECORDED}\n")
    assert cli.main(["verify", "--profile", "smoke"]) == 0
    assert f"agrees with its history; {code_version.UNRECORDED}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "config", "seed", "expected"),
    [
        ("variational", {}, 0, "aelib train variational --again --profile smoke"),
        ("variational", {}, 3, "aelib train variational --again --profile smoke --seed 3"),
        ("variational", {"beta": 4.0}, 0, "aelib train variational --set beta=4.0 --again --profile smoke"),
        ("variational", {"beta": 4.0, "summary": True}, 0, "rm -r {path}  # and ask for it again"),
        (
            "convolutional",
            {"channels": (4, 4, 8)},
            0,
            "aelib train convolutional --set 'channels=(4, 4, 8)' --again --profile smoke",
        ),
    ],
)
def test_the_mend_makes_the_run_that_is_stale(name, config, seed, expected, tmp_path, monkeypatch):
    """Without training it: the configuration is enough."""
    seen = []
    none = runs.Run({}, {}, [], {}, {}, {}, tmp_path, "")
    monkeypatch.setattr(runs, "load_or_make", lambda path, make, **_: seen.append((path, make)) or none)
    monkeypatch.setattr(making, "_make", lambda asked, *_, **__: asked.decisive)
    monkeypatch.setattr(origin, "doubt", lambda _: "")  # there is none yet to doubt
    experiments.obtain(name, profile="smoke", seed=seed, folder=tmp_path, **config)
    (path, make) = seen[0]
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(make(tmp_path)))
    (path / "provenance.json").write_text("{}")
    assert experiments.command(path) == expected.format(path=path)


@pytest.mark.faults
def test_a_checkpoint_of_other_code_is_not_gone_on_from(small, tmp_path, capsys, monkeypatch):
    def train(folder, epochs, found):
        folder.mkdir(exist_ok=True)
        torch.manual_seed(0)
        model = SymmetricAutoencoder(AutoencoderConfig(**SMALL))
        origin = found and {"digest": str(found), "probe": {"loss": found}}
        config = hyperparameters.TrainingConfig(max_epochs=epochs)
        return training.fit(model, small, config, seed=0, folder=folder, origin=origin)

    whole = train(tmp_path / "whole", 3, 1.0)
    first = train(tmp_path / "other", 2, 1.0)
    alike = train(tmp_path / "other", 3, 1.0 + code_version.TOLERANCE / 2)
    assert alike.seconds[:2] == first.seconds, "gone on from"
    assert capsys.readouterr().err == ""
    other = train(tmp_path / "other", 3, 1.1)
    assert f"{tmp_path / 'other' / 'checkpoint'} is not gone on from ({code_version.STALE})" in capsys.readouterr().err
    assert other.seconds[:2] != first.seconds, "from the start"
    assert other.rows == whole.rows
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "2.0.0")
        older = train(tmp_path / "older", 2, 1.0)
    newer = train(tmp_path / "older", 3, 1.0)
    assert f"is not gone on from (begun with torch 2.0.0, here is {torch.__version__})" in capsys.readouterr().err
    assert newer.seconds[:2] != older.seconds
    assert newer.rows == whole.rows
    train(tmp_path / "unknown", 2, None)
    train(tmp_path / "unknown", 3, 1.0)
    assert f"is not gone on from ({code_version.UNRECORDED})" in capsys.readouterr().err
    tried(
        "A checkpoint of other code",
        "another loss, another PyTorch, code that is not recorded",
        3,
        "begun again, which is said; it ends with the same numbers",
    )


def test_the_digest_is_the_same_in_each_version_of_python():
    """Of a sample, as 3.11 to 3.13 have it: a run is read by others than those that made it."""
    sample = "class A(B):\n    x: int = 1\n    def f(self, *a: str, k=None) -> None:\n"
    sample += '        return f"{a!r}: {k:.2f}" or (lambda: ())\n'
    digest = hashlib.sha256(code_version.bare(sample).encode()).hexdigest()
    assert digest == "e4f59f769406fd57d125255839bc041e0dacdaa5cdbbfee15f34372ad9e68d3c"


def test_chapters_that_are_executed_at_once_ask_for_it_at_once():
    """In threads, where Python 3.11 takes the trees of two for one as soon as collecting garbage lets both go on."""
    program = textwrap.dedent("""
        import gc, time
        from concurrent.futures import ThreadPoolExecutor
        from aelib import code_version
        gc.set_threshold(50, 2, 2)
        gc.callbacks.append(lambda phase, _: time.sleep(0.0001))
        sources = ["x = [" + "(1, 2), " * 300 + "]"] * 20
        with ThreadPoolExecutor(2) as pool:
            assert len({*pool.map(code_version.bare, sources)}) == 1
    """)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE)
