"""What each command of `aelib` does. Torch and Lightning take seconds to import: each imports what it needs."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from aelib.errors import AelibError, known


def do_data(options: argparse.Namespace) -> None:
    """`aelib data`."""
    from aelib import data

    folder, origin = data.fetch(options.source)
    print(f"FashionMNIST is verified in {folder} (from: {origin})")


def do_train(options: argparse.Namespace) -> None:
    """`aelib train`."""
    from aelib import experiments, sweeps

    names = options.names or list(experiments.EXPERIMENTS)
    seeds, parameters = sweeps.seeds_in(options.seeds), _parameters(options.set)
    if options.scheduler and options.workers != 1:
        raise AelibError("--workers are processes here, --scheduler leads elsewhere: take one of them")
    asked = {"seeds": seeds, "profile": options.profile, "dataset": options.dataset, "config": options.config}
    asked |= parameters
    for name in names:  # before the first is trained
        sweeps.check(name, **asked)
    many = len(seeds) > 1 or any(len(values) > 1 for values in parameters.values())
    extent = {"again": options.again, "precision": options.precision, "maps": not many, "workers": options.workers}
    with _cluster(options.scheduler) as executor:
        for name in names:
            for row in sweeps.sweep(name, executor=executor, **asked, **extent):
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
        if name in found or name in ("name", "seed", "seeds", "profile", "dataset", "config"):
            raise AelibError(f"--set takes each parameter of the experiment once, and no other option: not {text!r}")
        try:
            found[name] = list(ast.literal_eval(f"[{values}]"))
        except (SyntaxError, ValueError, TypeError):
            found[name] = values.split(",")
    return found


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


def do_study(options: argparse.Namespace) -> None:
    """`aelib study`."""
    from aelib import study

    plan = study.Plan(options.profile, options.seed, options.storage, dataset=options.dataset)
    if options.status:
        _study_status(plan)
        return
    search = study.obtain(plan, workers=options.workers)
    best = search.best
    print(f"{search.path}: best of {len(search.trials)} trials is trial {best.number}, {best.value:.5f}: {best.params}")


def _study_status(plan: Any) -> None:
    import shutil
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
        width = shutil.get_terminal_size().columns
        rows = sum(max(1, -(-len(line) // width)) for line in lines)  # a long line takes several
        print(f"\033[{rows}F\033[J", end="")  # back to the first of them, and clear what is below


def do_claims(options: argparse.Namespace) -> None:
    """`aelib claims`."""
    import json
    from dataclasses import asdict

    from aelib import sweeps
    from aelib.claims import claims

    found = claims(options.profile, seeds=None if options.seeds is None else sweeps.seeds_in(options.seeds))
    if options.json:
        print(json.dumps([asdict(claim) for claim in found], indent=2, ensure_ascii=False))
        return
    for claim in found:
        print(f"{claim.outcome.upper()}: {claim.claim} ({claim.where})")
        for each in claim.rulings:
            print(f"    {each.quantity}: {each.ours}\n        rule: {each.rule}")


def do_book(options: argparse.Namespace) -> None:
    """`aelib book`."""
    from aelib import book, data, runs
    from aelib.profiles import find_profile

    profile = find_profile(options.profile)
    _in_a_checkout()
    if profile.garments is data.load:
        do_data(argparse.Namespace(source=None))  # before the chapters: here a bar shows how it goes
    lines = book.build(runs.ROOT, profile=options.profile, notice=profile.notice, pdf=options.pdf)
    width = max(len(line.chapter) for line in lines)
    outcome = max(len(line.outcome) for line in lines)
    for line in lines:
        print(f"{line.chapter:<{width}}  {line.outcome:<{outcome}}  {line.seconds:6.1f} s")
    print(f"Open {runs.ROOT / '_build' / 'html' / 'index.html'}")


def do_runs(options: argparse.Namespace) -> None:
    """`aelib runs`."""
    import json
    from dataclasses import asdict

    from aelib import index, runs

    known("profile", options.profile, ("report", "quick", "smoke"))  # aelib.profiles would import PyTorch
    folder = runs.results_folder() / options.profile
    if names := options.remove or options.remove_weights:
        alone = not options.remove
        for name in index.remove(folder, names, published=options.published, weights_alone=alone):
            print(f"{name} {'has no weights any more' if alone else 'is deleted'}")
    elif options.compare:
        different = [*index.compare(folder, *options.compare)]
        for name, one, other in different:
            print(f"{name}: {one} | {other}")
        if not different:
            print("aelib: they differ in nothing", file=sys.stderr)
    elif options.json:
        print(json.dumps([asdict(entry) for entry in index.entries(folder)], indent=1, ensure_ascii=False))
    else:
        found = index.entries(folder)
        if not found:
            print(f"aelib: there are no runs in {folder}", file=sys.stderr)
        for entry in found:
            metrics = [f"{name} {entry.metrics[name]:.5g}" for name in SHOWN if name in entry.metrics]
            said = [
                *_differences(entry.seed, entry.differs),
                *metrics,
                f"{entry.bytes / 1e6:.1f} MB",
                *(["summary"] if entry.summary else []),
                *(["without weights"] if entry.left_out else []),
            ]
            print(f"{entry.name:<24} {', '.join(said)}{f' ({entry.doubt})' if entry.doubt else ''}")


SHOWN = ("epochs", "validation_loss", "test_loss", "test_accuracy")
"""The metrics in the lines of `aelib runs`."""


def do_evaluate(options: argparse.Namespace) -> None:
    """`aelib evaluate`."""
    import json
    from dataclasses import asdict

    from aelib import evaluate, runs

    rows, failed = [], list[str]()
    for row in evaluate.table(*options.metrics, profile=options.profile):
        rows.append(asdict(row))
        failed += [row.run] if row.fault else []
        if not options.json:
            said = _differences(row.seed, row.differs) + [f"{name} {each:.5g}" for name, each in row.numbers.items()]
            print(f"{row.run:<24} {row.metric:<15} {row.fault or ', '.join(said)}", flush=True)
    if options.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    if not rows:
        print(f"aelib: there are no runs in {runs.results_folder() / options.profile}", file=sys.stderr)
    if failed:
        raise AelibError(f"{', '.join(dict.fromkeys(failed))}: see above; the others are evaluated")


def _differences(seed: int | None, differs: dict[str, Any]) -> list[str]:
    """The seed of a run, and in what it differs from the default."""
    return [*([] if seed is None else [f"seed {seed}"]), *(f"{name}={value}" for name, value in differs.items())]


def do_chapter(options: argparse.Namespace) -> None:
    """`aelib chapter`."""
    import html

    from aelib import book, data, runs
    from aelib.profiles import find_profile

    known("chapter", options.name, book.chapters(runs.ROOT))
    given = {name: _value(text) for name, text in options.parameters}
    profile = find_profile(given.get("profile", "report"), given.get("dataset"))
    if profile.dataset:
        given["dataset"] = str(profile.dataset)  # the chapter is executed in another folder
    _in_a_checkout()
    if profile.garments is data.load:
        do_data(argparse.Namespace(source=None))
    asked = ", ".join(f"{name} = {text}" for name, text in options.parameters)
    notice = html.escape(f"This chapter alone{', with ' if asked else ''}{asked}. {profile.notice}".strip())
    page = book.build_chapter(runs.ROOT, options.name, given, notice=notice)
    if not (runs.ROOT / "_build" / "html" / "index.html").exists():
        print("Its links to other chapters lead to the book, which is not built yet: `aelib book`")
    print(f"Open {page}")


def _value(text: str) -> Any:
    """What papermill makes of `text`: None, whether, a number, or itself."""
    import ast

    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError):
        return text
    return value if value is None or isinstance(value, bool | int | float) else text


def _in_a_checkout() -> None:
    from aelib import runs

    if not (runs.ROOT / "_toc.yml").exists():
        raise AelibError(f"{runs.ROOT} holds no _toc.yml: the book is built from a checkout of the project")


def do_verify(options: argparse.Namespace) -> None:
    """`aelib verify`."""
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
    workers = min(cores.asked() or cores.available(), cores.available())
    show(verify.verify_runs(folder, workers=workers, again=options.again))
    html = runs.ROOT / "_build" / "html"
    if (html / "index.html").exists():
        show(verify.verify_book(runs.ROOT, html, profile=options.profile))
    else:
        print("there is no built book to verify: aelib book")
