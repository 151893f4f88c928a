"""The package as others get it: built, installed into an empty environment, and used from another folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.metadata import Metadata

import aelib

PARTS = ("aelib", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: a build leaves things where it is made."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "source").mkdir()
    for name in PARTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / "source" / name)
    (folder / "source/results").symlink_to(ROOT / "results")
    command = ["wheel", "--quiet", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", folder, "."]
    pip(command, cwd=folder / "source")
    (built,) = folder.glob("*.whl")
    return built


def pip(command, **options):
    quiet = ["--disable-pip-version-check", "--no-input"]
    subprocess.run([sys.executable, "-m", "pip", *quiet, *command], check=True, **options)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An environment's folder of programs; what aelib needs is on its path, from this environment."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin/python"
    pip(["--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel])
    (site,) = folder.glob("lib/python*/site-packages")
    # As a mere path: what is installed here for editing, aelib itself, is not taken up.
    lines = {sysconfig.get_path(each) for each in ("purelib", "platlib")}
    (site / "beside.pth").write_text("\n".join(lines))
    return folder / "bin"


@pytest.fixture
def elsewhere(installed, tmp_path, monkeypatch):
    """Runs a program of that environment, or Python code, in an empty folder; what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AELIB_", "PYTHON"))}

    def run(*command):
        first = [installed / "aelib"] if len(command) > 1 or "\n" not in command[0] else [installed / "python", "-c"]
        environment = kept | {"AELIB_NOTHING_NEW": "1"}
        done = subprocess.run([*first, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_what_is_installed_finds_the_reports_runs(elsewhere, tmp_path):
    """They come with it, and no other is trained in their place."""
    program = """
import aelib
run = aelib.obtain("variational")
print(aelib.__file__, run.path.is_relative_to("results/report") or run.path, tuple(run.model().sample(3, seed=1).shape))
print(aelib.load_model(str(run.path)).encode(run.model().sample(2).numpy()).shape)
head = aelib.obtain("transfer")
"""
    first, second = elsewhere(program).splitlines()
    where, found, *shape = first.split(" ", 2)
    assert not Path(where).is_relative_to(ROOT)
    assert Path(found).is_relative_to(tmp_path / "results/report")
    assert (shape, second) == (["(3, 1, 28, 28)"], "(2, 30)")
    listed = {line.split()[0].rpartition("-")[0] for line in elsewhere("runs").splitlines()}
    assert listed == {"variational", "convolutional", "transfer"}, "and what the head stands on"


def test_what_is_installed_has_its_programs_and_files(elsewhere):
    assert elsewhere("--version") == f"aelib {aelib.__version__}\n"
    program = """
import papermill.engines
from importlib.resources import files
from aelib import report
print(papermill.engines.papermill_engines.get_engine().__module__, files("aelib").joinpath("py.typed").is_file())
"""
    assert elsewhere(program) == "aelib.papermill_engine True\n"


def test_what_is_said_of_the_package_is_well_formed(wheel):
    with zipfile.ZipFile(wheel) as file:
        (name,) = (each for each in file.namelist() if each.endswith(".dist-info/METADATA"))
        found = Metadata.from_email(file.read(name), validate=True)
    assert str(found.version) == aelib.__version__
    assert found.description_content_type == "text/markdown"
    assert "# Autoencoders, reproduced" in found.description
    assert found.license_expression == "MIT"
    assert wheel.stat().st_size < 60e6
