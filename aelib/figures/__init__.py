"""Arrays and histories → matplotlib figures, in one visual language; nothing here trains, loads or shows."""

from aelib.figures.codes import class_map, class_maps, pca_axes
from aelib.figures.comparisons import Curve, along, dots
from aelib.figures.drawing import COLOURS, DPI, REPORT, STYLE, WIDTH, Drawing, Stored, classes_of, colours, styled
from aelib.figures.images import architecture, epochs_shown, generated, image_grid, reconstructions, rows_of_images
from aelib.figures.numbers import CostPanel, Reproduced, growth, reproductions
from aelib.figures.search import (
    best_of,
    found_rates,
    importances,
    latent_scatter,
    pareto_front,
    pareto_fronts,
    study_contour,
    study_history,
)
from aelib.figures.trainings import confusion_difference, confusion_matrix, finder_curve, loss_histories, loss_history
from aelib.figures.worth import odd, refusing, reliability, restoring, with_labels
