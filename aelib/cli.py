"""The command `aelib`: data, train, study, runs, evaluate, book, chapter, claims, verify."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from aelib import __version__, commands, compilation
from aelib.errors import AelibError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 for a fault, 2 for a wrong call, 130 or 143 when stopped."""
    for name in ("stdout", "stderr"):  # a daemon's may be closed
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 for as long as the process is
    os.environ["MPLBACKEND"] = "agg"  # no command opens a window; Matplotlib would refuse a name it does not know
    compilation.find_place()
    parser = argparse.ArgumentParser(prog="aelib", description="Autoencoders on FashionMNIST, reproduced.")
    parser.add_argument("--version", action="version", version=f"aelib {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = subparsers.add_parser("data", help="find or fetch FashionMNIST, and verify it")
    command.add_argument(
        "--from", dest="source", type=Path, metavar="FOLDER", help="a folder that holds its four files"
    )
    command.set_defaults(action=commands.do_data)

    command = subparsers.add_parser("train", help="train experiments, or go on training them")
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
    command.set_defaults(action=commands.do_train)

    command = subparsers.add_parser("study", help="search for the best hyper-parameters, or go on searching")
    command.add_argument("--profile", default="report", help="report (default), quick or smoke")
    command.add_argument("--dataset", metavar="PATH", help="images of one's own, as for train")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--workers", type=int, default=1, help="processes on this machine (default: 1)")
    command.add_argument("--storage", metavar="URL", help="a database to share, such as postgresql+psycopg://host/name")
    command.add_argument("--status", action="store_true", help="show how the study stands, until it is finished")
    command.set_defaults(action=commands.do_study)

    command = subparsers.add_parser("book", help="execute the chapters and render the book")
    command.add_argument("--profile", default="report", help="report (default), quick or smoke")
    command.add_argument("--pdf", action="store_true", help="and make one PDF and one EPUB of all of it")
    command.set_defaults(action=commands.do_book)

    command = subparsers.add_parser("chapter", help="execute one chapter, and render it to a page of its own")
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
    command.set_defaults(action=commands.do_chapter)

    command = subparsers.add_parser("claims", help="what the report claims, and what we found")
    command.add_argument("--profile", default="report", help="report (default), quick or smoke")
    command.add_argument("--seeds", help="of the runs, such as 0-4 (default: the profile's)")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(action=commands.do_claims)

    command = subparsers.add_parser("runs", help="which runs are there, and in what they differ")
    command.add_argument("--profile", default="report", help="report (default), quick or smoke")
    command.add_argument("--json", action="store_true", help="as JSON")
    what = command.add_mutually_exclusive_group()
    what.add_argument("--compare", nargs=2, metavar="RUN", help="in what these two differ")
    what.add_argument("--remove", nargs="+", metavar="RUN", help="delete these")
    what.add_argument("--remove-weights", nargs="+", metavar="RUN", help="delete their weights, and nothing else")
    command.add_argument("--published", action="store_true", help="delete even of what is in git")
    command.set_defaults(action=commands.do_runs)

    command = subparsers.add_parser("evaluate", help="metrics over the stored runs; what is missing is found, and kept")
    command.add_argument("metrics", nargs="*", metavar="METRIC", help="all of them by default")
    command.add_argument("--profile", default="report", help="report (default), quick or smoke")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(action=commands.do_evaluate)

    command = subparsers.add_parser("verify", help="measure the stored runs anew, and make the built book anew")
    command.add_argument("--profile", default="report", help="report (default), quick or smoke")
    command.add_argument(
        "--retrain", nargs="*", metavar="NAME", help="train these experiments or runs anew instead, and compare"
    )
    command.add_argument("--again", action="store_true", help="measure even what agreed before, by the same code")
    command.set_defaults(action=commands.do_verify)

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
    except ModuleNotFoundError as error:
        package = (error.name or "aelib").partition(".")[0]
        if options.debug or package == "aelib":
            raise
        print(f"aelib: this needs {package}, which is not installed: pip install 'aelib[book]'", file=sys.stderr)
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


if __name__ == "__main__":
    sys.exit(main())
