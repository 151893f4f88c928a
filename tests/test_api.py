"""The library as its page shows it: what stands in docstrings works, and nothing of the face is left out."""

import csv
import doctest
import importlib
import pkgutil
import re
import subprocess
import sys

import pytest
import tiny
from conftest import ROOT

import aelib
from aelib import data

MODULES = sorted(each.name for each in pkgutil.walk_packages(aelib.__path__, "aelib."))
WITH_EXAMPLES = [
    name
    for name in ("aelib", *MODULES)
    if ">>> " in (ROOT / (importlib.util.find_spec(name).origin)).read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_a_module_are_as_it_says(name, all_tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("AELIB_RESULTS", str(tmp_path))
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert found.failed == 0


def test_there_are_examples_of_the_face_models_and_metrics():
    assert {"aelib", "aelib.models.autoencoder", "aelib.metrics", "aelib.latent"} <= {*WITH_EXAMPLES}


def test_a_loop_of_ones_own(tmp_path, monkeypatch):
    """As README has it; with a logger that needs no package of its own."""
    (program,) = re.findall(r"```python\n(import pytorch_lightning.*?)```", (ROOT / "README.md").read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "load", tiny.PROFILE.garments)
    monkeypatch.setattr(data, "SplitConfig", lambda: tiny.PROFILE.split)
    exec(program.replace("TensorBoardLogger", "CSVLogger"), {})
    (log,) = tmp_path.glob("logs/**/metrics.csv")
    rows = [*csv.DictReader(log.open())]
    losses = [float(row["train_loss"]) for row in rows if row.get("train_loss")]
    assert len(losses) == 5
    assert losses[-1] < losses[0]
    assert {"validation_kl", "train_reconstruction"} <= {*rows[0]}


def test_what_the_page_names_is_there():
    """And the face as a whole."""
    page = (ROOT / "book/api.md").read_text(encoding="utf-8")
    assert ".. automodule:: aelib\n   :members:\n" in page
    names = re.findall(r"^\.\. auto(?:class|function|exception):: (\S+)$", page, re.M)
    assert len(names) > 10
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert getattr(importlib.import_module(module), attribute).__doc__
    for module, members in re.findall(r"^\.\. automodule:: (\S+)\n   :members: (\S.*)$", page, re.M):
        assert {*members.split(", ")} <= {*dir(importlib.import_module(module))}


def test_modules_are_there_by_their_names():
    """As README and the API page write them."""
    program = "import aelib; aelib.evaluate.table, aelib.experiments.find, aelib.latent.mixture; aelib.nonsense"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "AttributeError: module 'aelib' has no attribute 'nonsense'"
