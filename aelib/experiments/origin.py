"""Where a run is from: what it stands on, whether today's code would make it, the command that makes it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from aelib import code_version, doubts, formats, probe, runs
from aelib.data import Garments, SampleConfig
from aelib.errors import AelibError
from aelib.experiments.kinds import Experiment
from aelib.experiments.registry import EXPERIMENTS, as_configured, fitted, said_by_images
from aelib.models import Model
from aelib.models.base import plain
from aelib.profiles import PROFILES, command_options, profile_of
from aelib.runs import Run


def differences(config: dict[str, Any], profile: str, source: Run | None = None) -> dict[str, Any]:
    """In what a run with `config` differs from what its experiment is by default in that profile, the seed aside.

    Args:
        source: the run that it stands on, whose differences are among them.

    Raises:
        LookupError: there is no such experiment any more.
    """
    default = EXPERIMENTS[config["experiment"]]
    usual = fitted(default, PROFILES[profile])
    found: dict[str, Any] = {}
    for part in ("model", "training"):
        values = plain(asdict(getattr(usual, part)))
        given = {name: each for name, each in config[part].items() if name not in said_by_images(usual.model)}
        found |= {name: each for name, each in given.items() if each != values.get(name)}
    found |= {each.name: config["data"][each.name] for each in fields(SampleConfig) if each.name in config["data"]}
    if source:
        of = source.config["experiment"]
        theirs = {} if of == default.source else {"experiment": of}
        theirs |= source.provenance.get("differs") or differences(source.config, profile)
        theirs |= {"seed": source.config["seed"]} if source.config["seed"] != config["seed"] else {}
        found |= {"source": theirs} if theirs else {}
    return found


def mend(path: Path, why: str) -> str:
    """What to do about `why`, a doubt about the run or study at `path`, to append to it."""
    return f"; again: `{command(path)}`" if why == code_version.STALE else ""


def doubt(path: Path) -> str:
    """Why the run or the study at `path` may not be what today's code makes, in words; empty where it is.

    Cheap where the code is the same or was not recorded; otherwise the training is probed, in about a second, once.
    """
    config, provenance = runs.about(path)
    if (why := doubts.known(path, provenance)) is not None:
        return why
    if "digests" in (kept := provenance["code"]):
        from aelib import study

        return study.doubt(path)
    return _probed(path, config, kept)


def _probed(path: Path, config: dict[str, Any], kept: Mapping[str, Any]) -> str:
    """What a probe says of the run at `path`, which has `kept` a record of its code."""
    try:
        experiment = as_configured(config)
    except (AelibError, LookupError, TypeError):  # the code no longer takes this configuration
        return code_version.STALE
    try:
        alike = code_version.alike(kept, record(experiment, source_of(path, config)))
    except RuntimeError:  # nor does it train so any more; or not now, which is why that is not remembered
        return code_version.STALE
    except (AelibError, OSError) as error:
        return f"it could not be probed: {error}"
    return doubts.remember(path, "" if alike else code_version.STALE)


def command(path: Path) -> str:
    """What makes the run or the study at `path` again."""
    config, provenance = runs.about(path)
    profile, name = profile_of(path, provenance), config.get("experiment")
    if name is None:
        from aelib import study

        return study.command(path)
    if config.get("summary") or config.get("weights") or name not in EXPERIMENTS or "data" not in config:
        return f"rm -r {path}  # and ask for it again"
    differs = provenance.get("differs")
    if differs is None:  # an older version kept none
        differs = differences(config, profile, source_of(path, config))
    options = command_options(profile, config["seed"], provenance)
    return f"aelib train {name}{_settings(differs)} --again{options}"


def _settings(differs: Mapping[str, Any]) -> str:
    """What `aelib train` needs for a run with these parameters, as text to append."""

    def value(given: Any) -> Any:  # `--set` takes a tuple for one value
        return tuple(map(value, given)) if isinstance(given, list) else given

    return "".join(f" --set {shlex.quote(f'{name}={value(given)!r}')}" for name, given in formats.flat(differs))


def begin(experiment: Experiment, source: Model | None) -> probe.Begin:
    """What `experiment` starts from; `source` is the model that it stands on, if there is one."""

    def make(garments: Garments) -> tuple[Model, Garments]:
        model = experiment.model_class(experiment.model)
        return model, experiment.prepare(model, garments, source)

    return make


def record(experiment: Experiment, source: Run | None) -> dict[str, Any]:
    """What a run of `experiment` keeps of the code; the probe stands on an untrained model of the shape of `source`."""

    def make(garments: Garments) -> tuple[Model, Garments]:
        garments = replace(garments, train_labels=garments.train_labels % getattr(experiment.model, "classes", 10))
        return begin(experiment, untrained(source).eval() if source else None)(garments)

    shape = source and source.config["model"]
    return probe.record(f"{experiment.model_class} {experiment.model} {shape}", make, experiment.training)


def source_of(path: Path, config: dict[str, Any]) -> Run | None:
    """The run that the one at `path`, with `config`, stands on, if it does; found by the digest of its weights."""
    experiment = EXPERIMENTS[config["experiment"]]
    if (digest := config.get(experiment.source_key)) is None:
        return None
    others = [each.parent for each in sorted(path.parent.glob(f"[!.]*/{runs.CHECKSUMS}"))]
    for other in sorted(others, key=lambda each: not each.name.startswith(f"{experiment.source}-")):
        if runs.digest_of_weights(other) == digest:
            return runs.load(other)
    raise AelibError(
        f"run {path}: the {experiment.source_key} that it stands on is not beside it: restore that from git, or delete "
        "this run, which another may have replaced"
    )


def untrained(run: Run) -> Model:
    """The model of `run` before its training."""
    experiment = as_configured(run.config)
    return experiment.model_class(experiment.model)
