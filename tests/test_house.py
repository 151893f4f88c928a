"""The shape of the house: imports go down, the lock agrees with the bounds."""

import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from importlib.metadata import requires, version
from pathlib import Path

import pybtex.database
import pytest
import yaml
from conftest import ROOT
from faults import tried
from importlinter.cli import lint_imports
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import aelib


def test_imports_go_down():
    """As pyproject.toml has the floors of the house; no module is without one."""
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_an_import_that_goes_up_is_found(tmp_path, monkeypatch):
    """Even one within a function."""
    shutil.copytree(ROOT / "aelib", tmp_path / "aelib", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "aelib/errors.py").open("a") as file:
        file.write("\n\ndef up():\n    from aelib import runs\n")
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache", ROOT / "pyproject.toml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "aelib.errors is not allowed to import aelib.runs" in done.stdout


def test_the_picture_of_the_house_is_as_it_is():
    picture = runpy.run_path(str(ROOT / "tools/graph.py"))
    assert picture["drawn"]() in (ROOT / "CONTRIBUTING.md").read_text(), "make graph"


def lock() -> dict[str, list[Requirement]]:
    pins: dict[str, list[Requirement]] = {}
    for line in lock_lines():
        pin = Requirement(line.partition(" --hash")[0])
        pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    return pins


def lock_lines() -> list[str]:
    """One for each pin, its hashes included."""
    text = (ROOT / "requirements.txt").read_text().replace("\\\n", "")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def direct() -> list[Requirement]:
    """What aelib and its extras need, but for `lab`, which is installed beside the lock."""
    extras = [extra for name, extra in project()["optional-dependencies"].items() if name != "lab"]
    return [Requirement(text) for text in [*project()["dependencies"], *[text for extra in extras for text in extra]]]


def test_the_lock_pins_what_pyproject_asks_for():
    for requirement in direct():
        pins = lock()[canonicalize_name(requirement.name)]
        for pin in pins:
            (specifier,) = pin.specifier
            assert specifier.operator == "=="
            assert requirement.specifier.contains(specifier.version), f"{pin} is not {requirement}"


def test_the_lock_is_complete_and_is_what_is_installed():
    """Everything that anything installed here needs is pinned, and nothing else is."""
    environment = runpy.run_path(str(ROOT / "tools/environment.py"))
    pins = {name: pin for name, each in lock().items() for pin in each if pin.marker is None or pin.marker.evaluate()}
    needed, queue = set(), [(canonicalize_name(requirement.name), requirement.extras) for requirement in direct()]
    while queue:
        name, extras = queue.pop()
        if (name, frozenset(extras)) in needed:
            continue
        needed.add((name, frozenset(extras)))
        assert name in pins, f"{name} is needed but not locked"
        assert str(next(iter(pins[name].specifier)).version) == version(name).partition("+")[0]
        for text in requires(name) or []:
            requirement = Requirement(text)
            environments = [{"extra": extra} for extra in extras or [""]]
            if requirement.marker is None or any(requirement.marker.evaluate(each) for each in environments):
                queue.append((canonicalize_name(requirement.name), requirement.extras))
    # A build of torch for processors alone does without the libraries of CUDA, and nothing else.
    spared = {name for name in pins if environment["CUDA"].match(name)} if version("torch").endswith("+cpu") else set()
    assert set(pins) - spared == {name for name, _ in needed}


def test_the_lock_has_hashes():
    assert all(re.search(r" --hash=sha256:[0-9a-f]{64}( |$)", line) for line in lock_lines())


def test_all_agree_on_which_pythons():
    """pyproject.toml says it, the others repeat it."""
    oldest, beyond = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project()["requires-python"]).groups())
    for name in ("README.md", "book/intro.md"):
        assert re.findall(r"Python 3\.(\d+) to 3\.(\d+)", (ROOT / name).read_text()) == [(str(oldest), str(beyond - 1))]
    jobs = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text())["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == [f"3.{minor}" for minor in range(oldest, beyond)]
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["python_version"] == f"3.{oldest}"
    assert f"--python-version 3.{oldest} " in (ROOT / "CONTRIBUTING.md").read_text()


def test_workflows_have_least_permissions_and_pinned_actions():
    """A pull request must reach no secret, and an action must not change under us."""
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        text, workflow = path.read_text(), yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {"contents": "read"}
        assert "pull_request_target" not in text
        assert "secrets." not in text
        for action in re.findall(r"uses: (\S+)", text):
            assert re.fullmatch(r"actions/[a-z-]+(/(save|restore))?@[0-9a-f]{40}", action), f"{path.name}: {action}"
        for job in workflow["jobs"].values():
            if job.get("permissions"):
                assert job["if"] == "github.ref == 'refs/heads/main'"


def test_every_dependency_has_its_reason():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    lab = [Requirement(each) for each in project()["optional-dependencies"]["lab"]]
    missing = [requirement.name for requirement in [*direct(), *lab] if f"`{requirement.name}`" not in text]
    assert missing == []


def test_the_readme_names_only_targets_that_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {
        "setup",
        "data",
        "book",
        "pdf",
        "lab",
        "test",
        "lint",
        "retrain",
        "bench",
        "serve",
        "clean",
        "help",
        "faults",
        "graph",
    } == targets
    assert set(re.findall(r"`make ([a-z]+)", (ROOT / "README.md").read_text())) <= targets


def test_a_build_for_processors_installs_every_entry_of_the_lock_but_those_of_a_gpu():
    """Those that a package has for each of several Pythons, too."""
    rest, builds = runpy.run_path(str(ROOT / "tools/environment.py"))["apart"]((ROOT / "requirements.txt").read_text())
    entries = [line.split()[0] for line in lock_lines()]
    left_out = Counter(entries) - Counter(entry.split()[0] for entry in rest)
    assert {name for name in left_out if not re.match(r"(cuda|nvidia)-|triton=|torch", name)} == set()
    assert sorted(builds) == sorted(entry for entry in entries if re.match(r"torch(vision)?==", entry))
    assert len({entry.partition("==")[0] for entry in entries}) < len(entries), "some have several"
    assert all("--hash=" in entry for entry in rest)


@pytest.mark.faults
def test_git_changes_no_byte(tmp_path):
    """Not even where it is told to end lines as Windows does."""
    (tmp_path / "here").mkdir()
    content = {"a.json": b'{\n "a": 1\n}\n', "a.csv": b"a\nb\n", "a.py": b"a = 1\n"}
    for name, text in content.items():
        (tmp_path / "here" / name).write_bytes(text)
    shutil.copy(ROOT / ".gitattributes", tmp_path / "here")
    git = ["git", "-c", "core.autocrlf=true", "-c", "user.name=a", "-c", "user.email=a@b.example"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "a"]):
        subprocess.run([*git, *command], cwd=tmp_path / "here", check=True)
    subprocess.run([*git, "clone", "-q", tmp_path / "here", tmp_path / "there"], check=True)
    assert {name: (tmp_path / "there" / name).read_bytes() for name in content} == content
    tried("Git ends lines as Windows does", "a clone with `core.autocrlf`", 1, "the same bytes")


def test_the_package_has_a_face():
    """What it offers is seen without PyTorch, and is what it says."""
    program = (
        "import sys, aelib; print(*dir(aelib), 'torch' in sys.modules, aelib.obtain.__module__, aelib.sweep.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *names, early, where, sweep = done.stdout.split()
    assert {"obtain", "sweep", "open_run", "load_model", "EXPERIMENTS"} <= {*names}
    assert (early, where, sweep) == ("False", "aelib.experiments.making", "sweep")
    with pytest.raises(AttributeError, match="no attribute 'obtian'"):
        aelib.obtian  # noqa: B018


def test_no_module_is_too_long_to_read_at_once():
    long = {path.name for path in (ROOT / "aelib").rglob("*.py") if len(path.read_text().splitlines()) > 350}
    assert not long


def test_the_report_is_cited_alike_wherever_it_is_cited():
    (cited,) = yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]
    entry = pybtex.database.parse_file(str(ROOT / "book/references.bib")).entries["guadagnini2022"]
    (author,) = cited["authors"]
    assert (author["family-names"], author["given-names"]) == tuple(
        " ".join(part) for part in (entry.persons["author"][0].last_names, entry.persons["author"][0].first_names)
    )
    assert (cited["title"], str(cited["year"])) == (entry.fields["title"], entry.fields["year"])
