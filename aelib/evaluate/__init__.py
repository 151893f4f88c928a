"""Metrics over stored runs: each a function with a version, whose result is kept beside the run that it is of."""

from aelib.evaluate.autoencoders import CORRUPTIONS, aggregate_posterior, probabilities, restorations, tsne_map
from aelib.evaluate.classifiers import answers, judged_logits, logits_of  # and with it, the others' entries
from aelib.evaluate.damage import DAMAGES, WAYS, damaged, filtered
from aelib.evaluate.drawing import FITTED, MIXTURES, SAMPLERS, by_sampler, pictured, samplers
from aelib.evaluate.few_labels import LABELS
from aelib.evaluate.oddity import KINDS, SCORES
from aelib.evaluate.rate import ACTIVE_KL, ACTIVE_VARIANCE, said
from aelib.evaluate.store import METRICS, Metric, evaluate, faults, metric, metrics_of
from aelib.evaluate.table import Evaluation, of_seeds, table
