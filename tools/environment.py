"""Make the virtual environment: what requirements.txt pins, by uv or else by pip, and aelib; `make setup` runs this.

uv takes a quarter of pip's time. It is pinned in tools/uv.txt and not in the lock: it changes nothing of what is
installed. It reads none of pip's settings, so it is told them: a mirror, a proxy and certificates hold for both.
"""

import ast
import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BOUNDS = re.search(r'^requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text(), re.M)
OLDEST, BEYOND = map(int, BOUNDS.groups()) if BOUNDS else (0, 0)
if not (3, OLDEST) <= sys.version_info[:2] < (3, BEYOND):  # before anything that an older Python does not know
    sys.exit(
        f"Python 3.{OLDEST} to 3.{BEYOND - 1} is needed, {sys.executable} is {sys.version.split()[0]}: "
        "make PYTHON=/path/to/another"
    )

VENV = ROOT / ".venv"
READY = VENV / "ready"
PYTHON = VENV / "bin/python"
PIP = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
BUILDS = ("torch", "torchvision")
CUDA = re.compile(r"(cuda|nvidia)-|triton$")
"""What only those builds of torch need that are for a GPU."""
SHEBANG = r"\A#!(/bin/sh\n'''exec' )?.*/bin/python.*\n(' '''\n)?"
"""How a program in Python begins; the longer form is for paths that are long or have spaces."""
BESIDE = """#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0" 2>/dev/null || echo "$0")")/python" "$0" "$@"
' '''
"""
"""The same, by the Python that lies beside the program; to that Python the second line and the third are a text."""
VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "constraint": "UV_CONSTRAINT",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "retries": "UV_HTTP_RETRIES",
    "client-cert": "SSL_CLIENT_CERT",
}
"""pip's settings, and uv's variables for the same."""


def main() -> int:
    """Make the environment, then the file `ready` in it; what was left unfinished is begun anew."""
    VENV.mkdir(exist_ok=True)
    # Held until uv or pip has ended, too, should this process be killed before.
    lock = os.open(VENV, os.O_RDONLY)
    os.set_inheritable(lock, True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"Waiting for another process that installs into {VENV}", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if READY.exists():
            return 0
    print("Installing what requirements.txt pins, up to six gigabytes", flush=True)
    # Unfinished: a package of which a part is written would pass for installed.
    clear = [] if READY.exists() else ["--clear"]
    READY.unlink(missing_ok=True)
    run([sys.executable, "-m", "venv", *clear, VENV])
    try:
        install_by_uv()
    except (OSError, subprocess.CalledProcessError):
        print("uv could not be had, or could not do it: pip installs the same, more slowly", flush=True)
        run([*PIP, "--requirement", "requirements.txt"])
        run([*PIP, "--no-deps", "--no-build-isolation", "--editable", "."])
    make_movable()
    READY.touch()
    return 0


def make_movable() -> None:
    """Have what was installed find its place when it runs: a checkout that is copied or moved works where it is then.

    In a copy that kept the absolute paths, every command would be about the checkout that it was copied from.
    """
    here = r'"$(CDPATH= cd "$(dirname "${BASH_SOURCE:-$0}")" && [ -f activate ] && cd .. && pwd || echo \1)"'
    changes = {
        "bin/activate": (r"(?<=VIRTUAL_ENV=)([\"']?/.*)$", here),  # in shells that do not say which: where it was made
        "bin/activate.fish": (r"(?<=VIRTUAL_ENV )[\"']?/.*", "(realpath (dirname (status -f))/..)"),
        "bin/*": (SHEBANG, BESIDE),
        "lib/python*/site-packages/__editable__*aelib*.py": (
            r"'aelib': '.*/aelib'",
            "'aelib': str(Path(__file__).parents[4] / 'aelib')",
        ),
    }
    for pattern, change in changes.items():
        for path in VENV.glob(pattern):
            if path.is_symlink() or not path.is_file():
                continue
            before, mode = path.read_bytes(), path.stat().st_mode
            after = re.sub(change[0].encode(), change[1].encode(), before, flags=re.M)
            if after != before:
                path.unlink()  # it may be one with a file in uv's cache
                path.write_bytes(after)
                path.chmod(mode)


def run(command: list, **options) -> subprocess.CompletedProcess:
    """Run it at the root of the repository; a failure raises CalledProcessError."""
    return subprocess.run(command, cwd=ROOT, check=True, text=True, close_fds=False, **options)


def install_by_uv() -> None:
    """Install uv by pip, and by uv the other pins and aelib.

    Where UV_TORCH_BACKEND is set (to `cpu`, say), torch and torchvision are builds for that, of the versions that are
    pinned; their hashes are not in the lock.
    """
    run([*PIP, "--require-hashes", "--requirement", "tools/uv.txt"])
    listing = run([PYTHON, "-m", "pip", "config", "list"], stdout=subprocess.PIPE).stdout
    options, environment = for_uv(pip_settings(listing), dict(os.environ))
    uv = [VENV / "bin/uv", "pip", "install", "--quiet", "--python", PYTHON, *options]
    locked = [*uv, "--require-hashes", "--no-deps", "--requirement"]
    backend = environment.pop("UV_TORCH_BACKEND", "")
    if backend:
        text = (ROOT / "requirements.txt").read_text()
        rest, builds = apart(text)
        run([*locked, "-"], input="\n".join(rest), env=environment)
        run([*uv, "--no-deps", "--torch-backend", backend, *builds], env=environment)
    else:
        run([*locked, "requirements.txt"], env=environment)
    run([*uv, "--no-deps", "--no-build-isolation", "--editable", "."], env=environment)


def apart(lock: str) -> tuple[list[str], list[str]]:
    """The entries of the lock but those of a GPU's torch; and the pins, without hashes, of torch and torchvision."""
    # A list: a package may have an entry for each of several Pythons.
    entries = re.findall(r"^\w.*(?:\n .*)*", lock, re.M)
    rest = [entry for entry in entries if entry.partition("==")[0] not in BUILDS and not CUDA.match(entry)]
    return rest, [entry.split()[0] for entry in entries if entry.partition("==")[0] in BUILDS]


def pip_settings(listing: str) -> dict[str, str]:
    """The effective ones of `pip config list`: the environment goes before [install], and that before [global]."""
    lines = [re.fullmatch(r"(global|install|:env:)\.([\w-]+)=(.*)", line) for line in listing.splitlines()]
    found = [(line[1], line[2], ast.literal_eval(line[3])) for line in lines if line]
    found.sort(key=lambda setting: ("global", "install", ":env:").index(setting[0]))
    return {key: value for _, key, value in found if value}


def for_uv(settings: dict[str, str], environ: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """Options and environment that make uv do as pip would with these settings; uv's own variables stay as they are."""
    # Of several indexes pip takes the best version anywhere, and it trusts the machine's own certificates.
    ours = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_SYSTEM_CERTS": "1"}
    for key, variable in VARIABLES.items():
        if key in settings:
            ours[variable] = ("," if key == "find-links" else " ").join(settings[key].split())
    environment = ours | environ
    certificates = settings.get("cert") or environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
    if certificates:
        environment["SSL_CERT_DIR" if Path(certificates).is_dir() else "SSL_CERT_FILE"] = certificates
    if "proxy" in settings:
        environment |= {"HTTP_PROXY": settings["proxy"], "HTTPS_PROXY": settings["proxy"]}
    options = [f"--{key}={settings[key]}" for key in ("no-binary", "only-binary") if key in settings]
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        options.append("--no-index")
    return options, environment


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as failure:  # the command has said why
        sys.exit(failure.returncode)
    except KeyboardInterrupt:
        sys.exit(130)
