"""The command `aelib`: data, train, study, runs, evaluate, book, chapter, claims, verify."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from aelib import __version__
from aelib.errors import AelibError, known

# Torch and Lightning take seconds to import: each command imports what it needs.


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 for a fault, 2 for a wrong call, 130 or 143 when stopped."""
    parser = argparse.ArgumentParser(prog="aelib", description="Autoencoders on FashionMNIST, reproduced.")
    parser.add_argument("--version", action="version", version=f"aelib {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("data", help="find or fetch FashionMNIST, and verify it")
    command.add_argument(
        "--from", dest="source", type=Path, metavar="FOLDER", help="a folder that holds its four files"
    )
    command.set_defaults(action=_data)

    command = commands.add_parser("train", help="train experiments, or go on training them")
    command.add_argument("names", nargs="*", metavar="EXPERIMENT", help="all of them by default")
    command.add_argument("--profile", default="report", help="report (default), quick or smoke")
    command.add_argument("--dataset", metavar="PATH", help="images of one's own, 28×28 and grey: a .npz or a folder")
    command.add_argument("--seed", "--seeds", dest="seeds", default="0", help="such as 0-4 or 0,2 (default: 0)")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE[,VALUE…]",
        help="a parameter, or several values of it to try; source.NAME is one of the run that it stands on; of many "
        "runs no maps of codes are kept",
    )
    command.add_argument("--workers", type=int, default=1, help="processes on this machine (default: 1)")
    command.add_argument("--scheduler", metavar="URL", help="of a Dask cluster that trains instead: tcp://host:8786")
    command.add_argument("--config", default="report", help="hyper-parameters: report (default), or study for ours")
    command.add_argument("--precision", help="of what has to be trained: float32; bf16, tf32 where there is any")
    command.add_argument("--again", action="store_true", help="train even what is there")
    command.set_defaults(action=_train)

    command = commands.add_parser("study", help="search for the best hyper-parameters, or go on searching")
    command.add_argument("--profile", default="report", help="report (default), quick or smoke")
    command.add_argument("--dataset", metavar="PATH", help="images of one's own, as for train")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--workers", type=int, default=1, help="processes on this machine (default: 1)")
    command.add_argument("--storage", metavar="URL", help="a database to share, such as postgresql+psycopg://host/name")
    command.add_argument("--status", action="store_true", help="show how the study stands, until it is finished")
    command.set_defaults(action=_study)

    command = commands.add_parser("book", help="execute the chapters and render the book")
    command.add_argument("--profile", default="report", help="report (default), quick or smoke")
    command.set_defaults(action=_book)

    command = commands.add_parser("chapter", help="execute one chapter, and render it to a page of its own")
    command.add_argument("name", metavar="CHAPTER", help="such as 04_variational")
    command.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a parameter of its first cell",
    )
    command.set_defaults(action=_chapter)

    command = commands.add_parser("claims", help="what the report claims, and what we found")
    command.add_argument("--profile", default="report", help="report (default), quick or smoke")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(action=_claims)

    command = commands.add_parser("runs", help="which runs are there, and in what they differ")
    command.add_argument("--profile", default="report", help="report (default), quick or smoke")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument("--compare", nargs=2, metavar="RUN", help="in what these two differ")
    command.add_argument("--remove", nargs="+", metavar="RUN", help="delete these")
    command.add_argument("--published", action="store_true", help="with --remove: even those that are in git")
    command.set_defaults(action=_runs)

    command = commands.add_parser("evaluate", help="find what metrics are missing of the stored runs, and keep it")
    command.add_argument("--profile", default="report", help="report (default), quick or smoke")
    command.set_defaults(action=_evaluate)

    command = commands.add_parser("verify", help="measure the stored runs anew, and make the built book anew")
    command.add_argument("--profile", default="report", help="report (default), quick or smoke")
    command.add_argument(
        "--retrain", nargs="*", metavar="NAME", help="train these experiments or runs anew instead, and compare"
    )
    command.add_argument("--again", action="store_true", help="measure even what agreed before, by the same code")
    command.set_defaults(action=_verify)

    options = parser.parse_args(arguments)
    # A terminated training ends as an interrupted one does, with its last epoch on disk.
    signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = _raise_again
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that does not know σ gets a question mark
            with contextlib.suppress(OSError):
                stream.reconfigure(errors="replace")
    try:
        options.action(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read this has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except AelibError as error:
        if options.debug:
            raise
        print(f"aelib: {error}", file=sys.stderr)
        return 1
    except PermissionError as error:
        if options.debug:
            raise
        print(f"aelib: {error.filename} cannot be used ({error.strerror}): let this user use it", file=sys.stderr)
        return 1
    except (OSError, UnicodeError) as error:  # the machine's: no more files, no temporary folder, no UTF-8
        if options.debug:
            raise
        mend = "set PYTHONUTF8=1" if isinstance(error, UnicodeError) else "`aelib --debug` shows where"
        print(f"aelib: this machine refuses something: {error}: {mend}".replace("\n", " "), file=sys.stderr)
        return 1
    except (KeyboardInterrupt, _Terminated) as end:
        print("aelib: interrupted; what was under way goes on from its last epoch next time", file=sys.stderr)
        return 130 if isinstance(end, KeyboardInterrupt) else 143
    return 0


class _Terminated(SystemExit):
    """A SIGTERM; code that is not ours takes it for the exit that it is."""


def _terminate(*_: Any) -> None:
    raise _Terminated(143)


def _raise_again(lost: Any) -> None:
    """An interruption that met Python in a callback of its own, where it is lost, comes once more."""
    if issubclass(lost.exc_type, (KeyboardInterrupt, SystemExit)):
        number = signal.SIGINT if lost.exc_type is KeyboardInterrupt else signal.SIGTERM
        threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
    else:
        sys.__unraisablehook__(lost)


def _data(options: argparse.Namespace) -> None:
    from aelib import data

    folder, origin = data.fetch(options.source)
    print(f"FashionMNIST is verified in {folder} (from: {origin})")


def _train(options: argparse.Namespace) -> None:
    from aelib import experiments, sweep

    names = options.names or list(experiments.EXPERIMENTS)
    seeds, parameters = _seeds(options.seeds), _parameters(options.set)
    if options.scheduler and options.workers != 1:
        raise AelibError("--workers are processes here, --scheduler leads elsewhere: take one of them")
    asked = {"seeds": seeds, "profile": options.profile, "dataset": options.dataset, "config": options.config}
    asked |= parameters
    for name in names:  # before the first is trained
        sweep.check(name, **asked)
    many = len(seeds) > 1 or any(len(values) > 1 for values in parameters.values())
    extent = {"again": options.again, "precision": options.precision, "maps": not many, "workers": options.workers}
    with _cluster(options.scheduler) as executor:
        for name in names:
            for row in sweep.sweep(name, executor=executor, **asked, **extent):
                said = {**row.parameters, "seed": row.seed} | {
                    key: f"{value:.5g}" for key, value in row.metrics.items()
                }
                print(f"{row.path}: {' '.join(f'{key}={value}' for key, value in said.items())}", flush=True)


def _parameters(texts: list[str]) -> dict[str, list[Any]]:
    """`beta=1,2` as a name and its values: numbers, tuples and the like as Python has them, words as they are."""
    import ast

    found: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not (name and equals and values):
            raise AelibError(f"--set takes NAME=VALUE, or several values with commas between them, not {text!r}")
        if name in found or name in (
            "name",
            "seed",
            "seeds",
            "profile",
            "dataset",
            "config",
            "folder",
            "summary",
            "again",
        ):
            raise AelibError(f"--set takes each parameter of the experiment once, and no other option: not {text!r}")
        try:
            found[name] = list(ast.literal_eval(f"[{values}]"))
        except (SyntaxError, ValueError):
            found[name] = values.split(",")
    return found


def _seeds(text: str) -> list[int]:
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() if dash else True)):
            raise AelibError(f"--seeds takes whole numbers such as 3, 0,2 or 0-4, not {text!r}")
        seeds += range(int(first), int(last or first) + 1)
    if not seeds:
        raise AelibError(f"--seeds {text} are none: the first comes first")
    return seeds


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """The executor of a Dask cluster; None without an address."""
    if address is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise AelibError("--scheduler needs Dask: pip install distributed") from error
    try:
        client = Client(address)
    except (OSError, ValueError) as error:
        raise AelibError(
            f"no Dask scheduler answers at {address} ({error}): start one with `dask scheduler`"
        ) from error
    with client:
        yield client.get_executor()


def _study(options: argparse.Namespace) -> None:
    from aelib import study

    plan = study.Plan(options.profile, options.seed, options.storage, dataset=options.dataset)
    if options.status:
        _study_status(plan)
        return
    search = study.obtain(plan, workers=options.workers)
    best = search.best
    print(f"{search.path}: best of {len(search.trials)} trials is trial {best.number}, {best.value:.5f}: {best.params}")


def _study_status(plan: Any) -> None:
    import time

    from aelib import study

    live = sys.stdout.isatty()
    while True:
        status = study.status(plan)
        lines = study.describe(status)
        print("\n".join(lines), flush=True)
        if status.finished or not live:
            return
        time.sleep(2)
        print(f"\033[{len(lines)}F\033[J", end="")  # back to the first line, and clear what is below


def _claims(options: argparse.Namespace) -> None:
    import json
    from dataclasses import asdict

    from aelib.claims import claims

    found = claims(options.profile, seed=options.seed)
    if options.json:
        print(json.dumps([asdict(claim) for claim in found], indent=2, ensure_ascii=False))
        return
    for claim in found:
        theirs = f" (report: {claim.theirs})" if claim.theirs else ""
        print(f"{claim.verdict.upper()}: {claim.claim}{theirs}\n    {claim.ours}\n    rule: {claim.rule}")


def _book(options: argparse.Namespace) -> None:
    from aelib import book, data, runs
    from aelib.profiles import find_profile

    profile = find_profile(options.profile)
    _in_a_checkout()
    if profile.garments is data.load:
        _data(argparse.Namespace(source=None))  # before the chapters: here a bar shows how it goes
    lines = book.build(runs.ROOT, profile=options.profile, notice=profile.notice)
    width = max(len(line.chapter) for line in lines)
    outcome = max(len(line.outcome) for line in lines)
    for line in lines:
        print(f"{line.chapter:<{width}}  {line.outcome:<{outcome}}  {line.seconds:6.1f} s")
    print(f"Open {runs.ROOT / '_build' / 'html' / 'index.html'}")


def _runs(options: argparse.Namespace) -> None:
    import json
    from dataclasses import asdict

    from aelib import index, runs

    known("profile", options.profile, ("report", "quick", "smoke"))  # aelib.profiles would import PyTorch
    folder = runs.results_folder() / options.profile
    if options.remove:
        for name in index.remove(folder, options.remove, published=options.published):
            print(f"{name} is deleted")
    elif options.compare:
        for name, one, other in index.compare(folder, *options.compare):
            print(f"{name}: {one} | {other}")
    elif options.json:
        print(json.dumps([asdict(entry) for entry in index.entries(folder)], indent=1, ensure_ascii=False))
    else:
        for entry in index.entries(folder):
            metrics = [f"{name} {entry.metrics[name]:.5g}" for name in SHOWN if name in entry.metrics]
            differs = [f"{name}={value}" for name, value in entry.differs.items()]
            seed = [] if entry.seed is None else [f"seed {entry.seed}"]
            said = [*seed, *differs, *metrics, f"{entry.bytes / 1e6:.1f} MB", *(["summary"] if entry.summary else [])]
            print(f"{entry.name:<24} {', '.join(said)}{f' ({entry.doubt})' if entry.doubt else ''}")


SHOWN = ("epochs", "validation_loss", "test_loss", "test_accuracy")
"""The metrics in the lines of `aelib runs`."""


def _evaluate(options: argparse.Namespace) -> None:
    from aelib import evaluate, experiments, runs
    from aelib.profiles import find_profile

    find_profile(options.profile)
    for path in sorted((runs.results_folder() / options.profile).glob("[!.]*/config.json")):
        if path.parent.name.rpartition("-")[0] in experiments.EXPERIMENTS:
            run = runs.load(path.parent)
            for name in evaluate.metrics_of(run):
                evaluate.evaluate(run, name)
                print(f"{run.path.name}: {name}", flush=True)


def _chapter(options: argparse.Namespace) -> None:
    import html

    from aelib import book, data, runs
    from aelib.profiles import find_profile

    given = {name: _value(text) for name, text in options.parameters}
    profile = find_profile(given.get("profile", "report"), given.get("dataset"))
    _in_a_checkout()
    if profile.garments is data.load:
        _data(argparse.Namespace(source=None))
    asked = ", ".join(f"{name} = {text}" for name, text in options.parameters)
    notice = html.escape(f"This chapter alone{', with ' if asked else ''}{asked}. {profile.notice}".strip())
    page = book.build_chapter(runs.ROOT, options.name, given, notice=notice)
    if not (runs.ROOT / "_build" / "html" / "index.html").exists():
        print("Its links to other chapters lead to the book, which is not built yet: `aelib book`")
    print(f"Open {page}")


def _value(text: str) -> Any:
    """What papermill makes of `text`: None, whether, a number, or itself."""
    import ast
    import json

    try:
        value = ast.literal_eval(text)
        json.dumps(value)
    except (SyntaxError, ValueError, TypeError):
        return text
    return value


def _in_a_checkout() -> None:
    from aelib import runs

    if not (runs.ROOT / "_toc.yml").exists():
        raise AelibError(f"{runs.ROOT} holds no _toc.yml: the book is built from a checkout of the project")


def _verify(options: argparse.Namespace) -> None:
    from aelib import cores, runs, verify
    from aelib.profiles import find_profile

    find_profile(options.profile)

    def show(results: Iterable[tuple[str, str, list[str]]]) -> None:
        faulty = []
        for name, against, faults in results:
            print(f"{name}: {'; '.join(faults) or f'agrees with {against}'}", flush=True)
            faulty += [name] if faults else []
        if faulty:
            raise AelibError(f"{', '.join(faulty)}: see above; restore from git what was changed, or make it again")

    folder = runs.results_folder() / options.profile
    if options.retrain is not None:
        show(verify.verify_retrained(folder, options.retrain))
        return
    workers = cores.asked() or cores.available()
    show(verify.verify_runs(folder, workers=workers, again=options.again))
    html = runs.ROOT / "_build" / "html"
    if (html / "index.html").exists():
        show(verify.verify_book(runs.ROOT, html, profile=options.profile))
    else:
        print("there is no built book to verify: aelib book")


if __name__ == "__main__":
    sys.exit(main())
