"""The experiments of the report, by name: how each is trained, its runs, and what is in them."""

from aelib.chapter_parameters import only_known_parameters
from aelib.experiments.kinds import (
    AutoencoderExperiment,
    ClassifierExperiment,
    Experiment,
    SecondStageExperiment,
    TransferExperiment,
)
from aelib.experiments.making import (
    check,
    find,
    ladder,
    obtain,
    source_asked,
    train_again,
)
from aelib.experiments.measures import encode, evaluate, measure, outputs, summarise
from aelib.experiments.opened import (
    Trained,
    TrainedRun,
    begun,
    load_model,
    measure_again,
    open_run,
    prepared,
    random_box,
    tested_on,
    trained_on,
)
from aelib.experiments.origin import command, differences, doubt, mend, source_of
from aelib.experiments.registry import EXPERIMENTS, as_configured, configure, find_experiment

__all__ = [
    "EXPERIMENTS",
    "AutoencoderExperiment",
    "ClassifierExperiment",
    "Experiment",
    "SecondStageExperiment",
    "Trained",
    "TrainedRun",
    "TransferExperiment",
    "as_configured",
    "begun",
    "check",
    "command",
    "configure",
    "differences",
    "doubt",
    "encode",
    "evaluate",
    "find",
    "find_experiment",
    "ladder",
    "load_model",
    "measure",
    "measure_again",
    "mend",
    "obtain",
    "only_known_parameters",
    "open_run",
    "outputs",
    "prepared",
    "random_box",
    "source_asked",
    "source_of",
    "summarise",
    "tested_on",
    "train_again",
    "trained_on",
]
