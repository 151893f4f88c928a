"""The shape of the house: imports go down, the lock agrees with the bounds."""

import ast
import re
import runpy
import shutil
import subprocess
import tomllib
from collections import Counter
from importlib.metadata import requires, version
from pathlib import Path

import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# A module imports only from floors below its own.
FLOORS = {
    "errors": 0,
    "checkpoints": 1,
    "cores": 1,
    "code": 1,
    "compilation": 1,
    "corruption": 1,
    "data": 1,
    "hyperparameters": 1,
    "latent": 1,
    "memory": 1,
    "models.base": 1,
    "models.layers": 1,
    "progress": 1,
    "words": 1,
    "pages": 2,
    "report": 2,
    "runs": 1,
    "figures": 4,
    "metrics": 1,
    "models.autoencoder": 2,
    "models.classifier": 3,
    "models.denoising": 3,
    "models.variational": 3,
    "synthetic": 2,
    "verdicts": 1,
    "models": 4,
    "training": 5,
    "probe": 6,
    "tables": 6,
    "profiles": 3,
    "study.space": 6.1,
    "study.plan": 6.2,
    "study.storage": 6.3,
    "study.queue": 6.4,
    "study.result": 6.5,
    "study.trial": 6.6,
    "study.worker": 6.7,
    "study": 7,
    "experiments": 8,
    "evaluate.store": 9,
    "index": 9,
    "sweep": 9,
    "evaluate.autoencoders": 10,
    "evaluate.classifiers": 10,
    "evaluate": 11,
    "evidence": 12,
    "claims": 13,
    "engine": 9,
    "explorer": 9,
    "book": 14,
    "verify": 15,
    "cli": 16,
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT / "aelib").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST) -> set[str]:
    """Modules of aelib that the code names, `from aelib import x` included."""
    names = set()
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.ImportFrom) and node.level), "imports are absolute"
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "aelib":
            below = (node.module or "").partition(".")[2]
            inner = [f"{below}.{alias.name}".lstrip(".") for alias in node.names]
            names |= {name if name in FLOORS else below for name in inner}
        elif isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("aelib.")}
    return {name for name in names if name in FLOORS}


def test_every_module_has_its_floor():
    assert {module_name(path) for path in (ROOT / "aelib").rglob("*.py")} - {""} == set(FLOORS)


def test_imports_go_down():
    upward = []
    for path in (ROOT / "aelib").rglob("*.py"):
        name = module_name(path)
        if not name:  # the package itself imports nothing
            assert imported(ast.parse(path.read_text())) == set()
            continue
        for below in imported(ast.parse(path.read_text())):
            if FLOORS[below] >= FLOORS[name]:
                upward.append(f"{name} imports {below}")
    assert upward == []


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
        "lab",
        "test",
        "lint",
        "retrain",
        "bench",
        "serve",
        "clean",
        "help",
        "faults",
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
