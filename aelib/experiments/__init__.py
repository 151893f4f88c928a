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
from aelib.experiments.measures import encode, evaluate, outputs, summarise
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
from aelib.experiments.registry import EXPERIMENTS, as_configured, configure
