"""How `make setup` installs: pip's settings hold for uv, and what fails or is killed is made up for.

In place of uv stands a script that notes what it is told and has pip install; the package is a small one, made here.
"""

import base64
import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import setuptools
from conftest import ROOT

BACKEND = """
import zipfile
def build_editable(folder, *_):
    with zipfile.ZipFile(folder + "/aelib-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("aelib-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: aelib\\nVersion: 1.0\\n")
        wheel.writestr("aelib-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("aelib-1.0.dist-info/RECORD", "")
        wheel.writestr("aelib.pth", "")
    return "aelib-1.0-py3-none-any.whl"
"""
UV = """#!python
import json, os, signal, subprocess, sys
from pathlib import Path
root = Path(os.environ["NOTES"])
with open(root / "told", "a") as notes:
    notes.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n")
if os.environ.get("FAILS"):
    sys.exit("uv cannot do it")
if os.environ.get("KILLED"):  # with a part of the package written
    package = next(Path(sys.prefix).glob("lib/python*/site-packages"))
    (package / "tiny-1.0.dist-info").mkdir()
    (package / "tiny-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n")
    os.killpg(0, signal.SIGKILL)
arguments = sys.argv[sys.argv.index("--python") + 2:]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "--quiet", *arguments]))
"""


def wheel(folder: Path, name: str, files: dict[str, str]) -> str:
    """Make one of version 1.0; its line for a lock."""
    path, about = folder / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info"
    files |= {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {each: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()) for each, text in files.items()}
    record = "".join(f"{each},sha256={digest.decode().rstrip('=')},\n" for each, digest in digests.items())
    with zipfile.ZipFile(path, "w") as archive:
        for each, text in files.items():
            entry = zipfile.ZipInfo(each)
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, text)
        archive.writestr(f"{about}/RECORD", record + f"{about}/RECORD,,\n")
    return f"{name}==1.0 \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def setup(tmp_path):
    """Runs `make setup` in a small repository with further variables; what uv was told is noted in `told`."""
    root, wheels = tmp_path / "root", tmp_path / "wheels"
    (root / "tools").mkdir(parents=True)
    wheels.mkdir()
    for name in ("Makefile", "tools/environment.py"):
        shutil.copy(ROOT / name, root / name)
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "aelib"\nversion = "1.0"\nrequires-python = ">=3.11,<3.16"\n'
    )
    (root / "backend.py").write_text(BACKEND)
    (root / "requirements.txt").write_text(wheel(wheels, "tiny", {"tiny.py": ""}))
    (root / "tools/uv.txt").write_text(wheel(wheels, "uv", {"uv-1.0.data/scripts/uv": UV}))

    def run(**variables: str) -> subprocess.CompletedProcess:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "MAKE"))}
        settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
        return subprocess.run(
            ["make", "setup", f"PYTHON={sys.executable}"],
            cwd=root,
            env=clean | settings | {"NOTES": str(root)} | variables,
            capture_output=True,
            text=True,
            start_new_session=True,
        )

    run.root, run.wheels = root, wheels
    return run


def sound(root: Path) -> bool:
    names = subprocess.run([root / ".venv/bin/python", "-c", "import tiny"], capture_output=True)
    return names.returncode == 0 and (root / ".venv/ready").exists()


@pytest.mark.faults
def test_uv_installs_and_is_told_what_pip_is_told(setup):
    done = setup(UV_HTTP_RETRIES="7", PIP_RETRIES="2", PIP_CERT="/certificates.pem")
    assert done.returncode == 0, done.stderr
    assert sound(setup.root)
    (lock, environment), (aelib, _) = map(json.loads, (setup.root / "told").read_text().splitlines())
    assert lock[-4:] == ["--require-hashes", "--no-deps", "--requirement", "requirements.txt"]
    assert "--no-index" in lock
    assert aelib[-2:] == ["--editable", "."]
    assert environment["UV_FIND_LINKS"] == str(setup.wheels)
    assert environment["SSL_CERT_FILE"] == "/certificates.pem"
    assert environment["UV_HTTP_RETRIES"] == "7"  # said to uv itself
    assert "pip installs" not in done.stdout
    (setup.root / "requirements.txt").touch()
    (setup.root / ".venv/own").touch()
    assert setup().returncode == 0
    assert (setup.root / ".venv/own").exists()  # one that was finished is kept


@pytest.mark.faults
@pytest.mark.parametrize("fault", ["fails", "cannot be had"])
def test_pip_installs_where_uv_does_not(setup, fault):
    if fault == "cannot be had":
        (setup.wheels / "uv-1.0-py3-none-any.whl").unlink()
    done = setup(**{"FAILS": "1"} if fault == "fails" else {})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("pip installs the same") == 1
    assert sound(setup.root)


@pytest.mark.faults
def test_an_installation_that_is_killed_is_begun_anew(setup):
    assert setup(KILLED="1").returncode != 0
    assert not (setup.root / ".venv/ready").exists()
    done = setup()
    assert done.returncode == 0, done.stderr
    assert sound(setup.root)


@pytest.mark.faults
def test_a_checkout_that_is_copied_or_moved(setup, tmp_path):
    """With its environment, which setuptools installs aelib into as it does for users."""
    packages = Path(setuptools.__file__).parent.parent
    (setup.root / "backend.py").write_text(
        f"import sys; sys.path.append({str(packages)!r})\nfrom setuptools.build_meta import *\n"
    )
    with (setup.root / "pyproject.toml").open("a") as file:
        file.write('scripts = {aelib = "aelib:main"}\n[tool.setuptools]\npackages = ["aelib"]\n')
    (setup.root / "aelib").mkdir()
    (setup.root / "aelib/__init__.py").write_text("import sys\ndef main(): print(__file__, sys.prefix, sep='\\n')\n")
    done = setup()
    assert done.returncode == 0, done.stderr
    copy = shutil.copytree(setup.root, tmp_path / "Kopie für Zoë & Søn", symlinks=True)
    moved = setup.root.rename(tmp_path / "moved")
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for root in (copy, moved):
        (tmp_path / "link").symlink_to(root / ".venv/bin/aelib")
        activated = 'CDPATH=/; cd "$1"; . .venv/bin/activate; cd /; '
        for script in (activated + "aelib", '"$1/.venv/bin/aelib"', '"$1/../link"'):
            shown = subprocess.run(["bash", "-euc", script, "-", root], env=clean, capture_output=True, text=True)
            assert shown.stdout.splitlines() == [str(root / "aelib/__init__.py"), str(root / ".venv")], shown.stderr
        (tmp_path / "link").unlink()


def test_of_pips_settings_the_environments_go_first():
    environment = runpy.run_path(str(ROOT / "tools/environment.py"))
    settings = environment["pip_settings"](
        ":env:.index-url='https://c.example/simple'\nglobal.index-url='https://a.example/simple'\n"
        "install.index-url='https://b.example/simple'\nglobal.find-links='/one\\n/two'\nglobal.proxy=''\n"
        "install.extra-index-url='https://d.example/simple https://e.example/simple'\ndownload.retries='3'\n"
        "WARNING: something\n"
    )
    options, variables = environment["for_uv"](settings, {"REQUESTS_CA_BUNDLE": "/r.pem", "UV_SYSTEM_CERTS": "0"})
    assert options == []
    assert variables == {
        "REQUESTS_CA_BUNDLE": "/r.pem",
        "SSL_CERT_FILE": "/r.pem",
        "UV_DEFAULT_INDEX": "https://c.example/simple",
        "UV_FIND_LINKS": "/one,/two",
        "UV_INDEX": "https://d.example/simple https://e.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_SYSTEM_CERTS": "0",
    }
