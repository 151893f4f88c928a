"""The hyper-parameter study (report, Section 2.1 and Table 1): sixty trials that can be killed, repeated and shared.

Optuna keeps the trials, in a journal file or in any database that it knows; a worker takes one trial after another.
What a worker proposes depends on the study's seed, the trial's number and the other trials alone, and a trial whose
worker has died is taken up by another, from its last epoch where its checkpoint is at hand.
"""

from aelib.study.hindsight import best_of, faults, importances, most_important, replay
from aelib.study.plan import Plan
from aelib.study.result import FILES, Search, command, describe, doubt, load, ranked, read, status
from aelib.study.space import REPORTS_CHOICE, SymmetricAutoencoderHPS, distribution
from aelib.study.worker import obtain, work
