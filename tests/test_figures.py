"""Figures and tables: what they show, and that they are the same each time."""

import ast
import base64
import io
import os
import re
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib.style
import numpy as np
import pytest
from faults import tried
from matplotlib.colors import is_color_like
from PIL import Image

from aelib import figures, metrics, report, runs, tables
from aelib.data import CLASSES
from aelib.hyperparameters import TrainingConfig
from aelib.models import AutoencoderConfig
from aelib.profiles import find_profile

HISTORY = [{"epoch": n, "train_loss": 0.1 / n, "validation_loss": 0.08 / n + 0.001 * (n == 4)} for n in range(1, 5)]

SMOKE, REPORT = (
    [SimpleNamespace(path=Path("results", profile, name), provenance={}) for name in ("a-12345678", "b-12345678")]
    for profile in ("smoke", "report")
)


def svg(figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def undated(drawing: str) -> str:
    return re.sub("<dc:date>.*?</dc:date>", "", drawing)


def all_figures(of):
    rng = np.random.default_rng(0)
    images = rng.random((10, 28, 28))
    garments = rng.random((50, 28, 28))
    yield figures.class_map(rng.normal(size=(50, 2)), np.arange(50) % 10, garments, ("a", "b"), of=of)
    yield figures.image_grid(images, columns=4, titles=list(CLASSES), of=of)
    yield figures.reconstructions(images, images, of=of)
    yield figures.loss_history([HISTORY], of=of)
    yield figures.loss_history([HISTORY, HISTORY[:1], HISTORY], theirs=report.losses("transfer"), of=of)
    values = 0.011 + 0.02 * rng.random(30) ** 3
    pruned = np.arange(30) % 11 == 5
    yield figures.study_history(np.where(np.arange(30) == 7, np.nan, values), pruned, 15, of=of)
    yield figures.study_history(values, pruned, 15, theirs=report.objectives(), of=of)
    dims, units = rng.integers(5, 21, 30) * 2, rng.integers(16, 33, 30) * 8
    yield figures.latent_scatter(dims, values, ["adam", "sgd", "adamax"] * 10, theirs=report.completed(), of=of)
    bands = {name: np.sort(rng.random((3, each)).T, 1) for name, each in (("ours", 3), ("report", 5))}
    yield figures.found_rates(
        {"a": np.geomspace(1e-3, 1e-2, 20), "b": np.full(20, np.nan)}, {"a": 2e-3}, {"b": 1e-3}, of=of
    )
    yield figures.best_of(bands, {name: rng.random(8) for name in bands}, figures.COLOURS[:2], of=of)
    shares = {"L2 penalty": 0.52, "Optimiser": 0.3, "Instance normalisation": 0.18}
    yield figures.importances(shares, dict.fromkeys(shares, 1 / 3), of=of)
    yield figures.study_contour(dims, units, values, report.completed(), of=of)
    yield figures.pareto_fronts({"Latent dimension": dims, "Parameters": 1000.0 * units}, values, of=of)
    lines = {"an epoch": [15.0, 44.0], "t-SNE": [40.0, 150.0]}
    seconds = figures.CostPanel("Images", [70_000, 210_000], "Seconds", lines)
    yield figures.growth([seconds, figures.CostPanel("Workers", [1, 2], "Gigabytes", {"training": [1.3, 1.7]})], of=of)
    maps = {name: rng.normal(size=(50, 2)) for name in "abc"}
    yield figures.class_maps(maps, np.arange(50) % 10, of=of)
    yield figures.loss_histories(
        {title: [HISTORY] for title in "abc"}, theirs={"b": report.losses("variational")}, of=of
    )
    yield figures.confusion_matrix(rng.integers(0, 900, (10, 10)), of=of)
    yield figures.confusion_difference(rng.integers(0, 900, (10, 10)), report.confusion("cnn"), of=of)
    yield figures.finder_curve(
        [(np.geomspace(1e-6, 1, 30), rng.random(30))] * 3, [1e-2] * 3, report.finder(), 0.0033, of=of
    )
    row = figures.Reproduced("a", 0.5, [0.5, 0.51, 0.7], (0.4, 0.8), (0.45, 0.55), "undecided")
    yield figures.reproductions([row, replace(row, ours=[0.6, 0.7])], of=of)
    yield figures.rows_of_images(dict.fromkeys("abc", images[:6]), titles=list("123456"), of=of)
    yield figures.generated(dict.fromkeys("abc", (images, garments[:20])), of=of)
    ways = {way: [5.0 + place, 7.0] for place, way in enumerate("abcdefgh")}
    yield figures.dots({"plain": ways, "denoising": {"a": [3.0]}}, "Distance", of=of)
    curve = figures.Curve("Error", {"net": ([0.1, 1], [[2, 3], [4]])}, {"line": ([0.1, 1], [1, 2])}, {"end": 1}, True)
    yield figures.along([curve, figures.Curve("Units", {"net": ([0.1, 1], [[2], [4]])})], "β", of=of)
    few = ([10, 100, 1000], [[0.3, 0.5], [0.6, 0.7], [0.8]])
    curves = {f"a method with a long name, {each}": few for each in "abcdefghi"}
    yield figures.with_labels(curves, "Accuracy", marks={"people": 0.835}, of=of)
    line = (np.array([30.0, 20.0]), np.array([0.1, 0.5]))
    panel = ([0.1, 0.4], "Share", dict.fromkeys(("denoiser", "median", "non-local means"), line))
    yield figures.restoring({"noise": panel, "blur": panel, "erased": panel, "salt and pepper": panel}, of=of)
    bins = np.array([[0, 5, 9], [0, 0.5, 0.9], [0, 0.4, 0.95]])
    both = {"before": bins, "after": bins}
    yield figures.reliability({"head": both, "CNN": both, "CNN, transforms": both}, of=of)
    yield figures.refusing(np.array([0, 0.1, 0.5]), {"CNN": np.array([0.9, 0.95, 0.99])}, of=of)
    areas = {"error": [(0.4, 0.01), (0.9, 0.02)], "features, mahalanobis": [(0.6, 0.01), (1.0, 0.0)]}
    yield figures.odd(["Ankle boot", "Bag"], areas, of=of)


def test_every_figure_carries_the_notice_of_its_profile():
    for of, notice in ((SMOKE, find_profile("smoke").notice), (REPORT, ""), ([], "")):
        drawn = list(all_figures(of))
        assert [figure.get_suptitle() for figure in drawn] == [notice] * 29


def test_nothing_sticks_out_of_a_figure():
    figure = figures.architecture([28, 14, 7, 5], [32, 32, 64], [(3, 2, 1), (3, 2, 1), (3, 1, 0)], (1600, 256, 30))
    for each in [figure, *all_figures(SMOKE)]:
        each.draw_without_rendering()
        drawn, (width, height) = each.get_tightbbox(), each.get_size_inches()
        assert min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) > -0.02, each.axes


def test_the_architecture_names_every_shape_twice():
    figure = figures.architecture([28, 12, 5, 5], [16, 32, 32], [(7, 2, 1), (5, 2, 1), (3, 1, 1)], (800, 128, 12))
    texts = [text.get_text() for text in figure.axes[0].texts]
    for shape in ("1 × 28×28", "16 × 12×12", "32 × 5×5", "800", "128"):
        assert texts.count(shape) >= 2, shape
    assert "code\n12" in texts


def test_a_figure_gives_its_runs_its_numbers_and_itself_twice():
    from IPython.core.pylabtools import print_figure

    drawn = list(all_figures(REPORT))
    with matplotlib.style.context(["default", figures.STYLE]):
        alone = [undated(print_figure(each, "svg")) for each in all_figures(REPORT)]
    bundles, sizes = zip(*[each._repr_mimebundle_() for each in drawn], strict=True)
    for bundle, size, figure, drawing in zip(bundles, sizes, drawn, alone, strict=True):
        assert undated(bundle["image/svg+xml"]) == drawing
        picture = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
        assert round(picture.width / 3) == size["image/png"]["width"]
        assert bundle[runs.PATHS] == "\n".join(runs.portable(each.path) for each in figure.of)
    assert sum("text/csv" in bundle for bundle in bundles) == len(bundles) - 4, "all but four of images"
    lines = bundles[3]["text/csv"].splitlines()
    assert lines[:2] == ["epoch,train_loss,validation_loss", "1,0.1,0.08"]
    assert len(lines) == 1 + len(HISTORY)
    assert bundles[0]["text/csv"].splitlines()[0] == "a,b,class"
    assert bundles[0]["text/csv"].splitlines()[1].endswith(",T-shirt")


def test_thumbnails_do_not_cover_each_other():
    points = np.random.default_rng(0).normal(size=(2000, 2))
    chosen = figures.codes._spread(points, distance=0.11)
    assert 20 < len(chosen) < 100
    low, high = np.percentile(points, [1, 99], axis=0)
    places = (points[chosen] - low) / (high - low)
    gaps = np.abs(places[:, None] - places).max(2) + np.eye(len(chosen))
    assert gaps.min() >= 0.11


def test_garments_are_dark_on_white():
    axis = figures.image_grid(np.zeros((1, 28, 28)), columns=1, of=[]).axes[0]
    assert axis.images[0].cmap(axis.images[0].norm(0.0))[:3] == (1.0, 1.0, 1.0)


def test_the_star_is_at_the_lowest_validation_loss():
    axis = figures.loss_history([HISTORY], of=[]).axes[0]
    star = next(line for line in axis.lines if line.get_marker() == "*")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (4, pytest.approx(0.021))


def test_every_class_has_a_colour_of_its_own():
    assert len(set(figures.COLOURS)) == len(CLASSES) == 10


@pytest.mark.parametrize("total", [1, 2, 8, 20, 50, 51, 57, 200])
def test_epochs_shown(total):
    shown = figures.epochs_shown(total, (1, 3, 6, 10, 25, 50, 57))
    assert shown == sorted(set(shown))
    assert shown[0] == 1
    assert shown[-1] == total
    assert len(shown) <= 7
    if total > 50:
        assert shown == [1, 3, 6, 10, 25, 50, total]


def test_numbers_are_set_like_numbers():
    assert [tables.number(value) for value in (None, 892_767, 0.010259, 57)] == ["–", "892,767", "0.01026", "57"]
    assert tables.number(0.9) == "0.9000"


def test_a_comparison_has_the_reports_number_ours_and_the_difference():
    rows = tables.compare({"a": "A", "b": "B"}, {"a": 0.02, "b": None}, {"a": 0.019, "b": 3, "c": 1})
    assert rows == [("A", "0.02", "0.01900", "−5.0 %"), ("B", "–", "3", "–")]


def test_a_table_is_numbered_and_named():
    table = tables.Table("tab-r2", "Caption.", ["", "Ours"], [("a", "**1**")])
    shown = table._repr_mimebundle_()
    text = "```{table} Caption.\n:name: tab-r2\n\n|  | Ours |\n| :-- | --: |\n| a | **1** |\n```\n"
    assert shown["text/markdown"] == text
    assert shown["text/html"].startswith("<p><strong>Table 2.</strong> Caption.</p>\n<table>\n")
    assert '<td style="text-align:right"><strong>1</strong></td>' in shown["text/html"]


def test_a_training_in_numbers_has_those_that_the_report_has():
    run = SimpleNamespace(history=HISTORY, metrics={"epochs": 4, "validation_loss": 0.02, "test_kl": 3.0})
    table = tables.training("tab-a", "Caption.", {"epochs": 5, "first_train_loss": None}, run)
    rows = ["| Epochs until it stopped | 5 | 4 | −20.0 % |", "| Training loss after one epoch | – | 0.1000 | – |"]
    assert table.myst.splitlines()[5:-1] == rows


def test_a_number_of_numpy_is_glued_as_one_of_python(monkeypatch):
    glued = []
    monkeypatch.setattr("myst_nb.glue", lambda name, value, display: glued.append((name, repr(value))))
    tables.glue(a_b=np.float64(1.5), c=np.int64(2), d="words")
    assert glued == [("a-b", "1.5"), ("c", "2"), ("d", "'words'")]


def test_the_pareto_front_is_what_nothing_beats():
    cost, value = np.array([3, 1, 2, 2, 4, 1]), np.array([1.0, 5.0, 3.0, 2.0, 1.0, 6.0])
    assert figures.pareto_front(cost, value).tolist() == [1, 3, 0]
    rng = np.random.default_rng(1)
    cost, value = rng.integers(0, 30, 200), rng.random(200)
    front = set(figures.pareto_front(cost, value).tolist())
    for each in range(200):
        beaten = ((cost <= cost[each]) & (value < value[each])) | ((cost < cost[each]) & (value <= value[each]))
        assert (each in front) == (not beaten.any())


def test_the_best_so_far_counts_neither_pruned_nor_failed_trials():
    values, pruned = np.array([np.nan, 0.05, 0.01, 0.03, 0.04]), np.array([False, False, True, False, False])
    axis = figures.study_history(values, pruned, 2, of=[]).axes[0]
    (best,) = [line for line in axis.lines if line.get_label() == "best so far"]
    np.testing.assert_array_equal(best.get_ydata(), [np.nan, 0.05, 0.05, 0.03, 0.03])


def test_the_table_of_hyper_parameters_is_the_reports():
    assert tables.hyper_parameters(AutoencoderConfig(), TrainingConfig()) == list(report.TABLE_2.values())


def test_a_trial_that_went_wrong_does_not_flatten_the_others():
    values = np.array([0.012, 0.013, 0.011, 0.2, 0.015])
    assert metrics.usual(values).tolist() == [True, True, True, False, True]
    assert metrics.usual(np.array([0.01, np.nan, 0.01])).tolist() == [True, False, True]
    axis = figures.study_history(values, np.zeros(5, bool), 2, of=[]).axes[0]
    assert axis.get_ylim()[1] < 0.02
    assert axis.get_title(loc="right") == "▲ 0.20"
    wrong = figures.study_history(np.array([*values, 0.4]), np.zeros(6, bool), 2, of=[]).axes[0]
    assert wrong.get_title(loc="right") == "▲ 0.20 to 0.40"
    assert [3, 5] in [line.get_xdata().tolist() for line in wrong.lines]


def test_where_no_image_is_left_there_is_no_axis():
    axes = figures.image_grid(np.zeros((7, 28, 28)), columns=5, of=[]).axes
    assert len(axes) == 10
    assert not any(each.axison for each in axes)


@pytest.mark.faults
def test_a_users_matplotlibrc_changes_no_figure(tmp_path):
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: black\nfont.family: serif\nfigure.dpi: 30\n")
    program = "import zlib, test_figures as test; print([zlib.crc32(test.svg(each)) for each in test.all_figures([])])"
    environment = os.environ | {"MATPLOTLIBRC": str(tmp_path)}
    there = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert there.stdout == f"{[zlib.crc32(svg(each)) for each in all_figures([])]}\n", there.stderr
    tried(
        "matplotlib is set up in another way",
        "a black background, serifs and 30 dots an inch",
        1,
        "the same figures, byte by byte",
    )


def test_what_else_a_user_draws_is_not_changed():
    """In their own style, before and after a figure of ours was drawn and written."""
    with matplotlib.rc_context({"axes.facecolor": "black", "axes.grid": False}):
        before = dict(matplotlib.rcParams)
        svg(figures.loss_history([HISTORY], of=[]))
        assert dict(matplotlib.rcParams) == before
    program = "import matplotlib as m; before = dict(m.rcParams); import aelib.figures; assert {**m.rcParams} == before"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_reports_curves_stand_beside_ours():
    """In their own colour, over their own epochs; in the table, empty where one of the two has stopped."""
    theirs = report.losses("transfer")
    drawn = figures.loss_history([HISTORY], theirs=theirs, of=[])
    lines = [line for line in drawn.axes[0].lines if line.get_color() == figures.REPORT]
    assert [line.get_ydata().tolist() for line in lines] == [
        theirs[f"{name}_loss"].tolist() for name in ("train", "validation")
    ]
    assert drawn.axes[0].get_xlim()[1] == max(len(HISTORY), 14) + 1
    columns = drawn.columns
    assert columns["epoch"] == list(range(1, max(len(HISTORY), 14) + 1))
    assert columns["report_validation_loss"][:14] == theirs["validation_loss"].tolist()
    assert columns["validation_loss"] == [row["validation_loss"] for row in HISTORY] + [""] * (
        len(columns["epoch"]) - len(HISTORY)
    )
    both = figures.loss_histories({"a": [HISTORY], "b": [HISTORY]}, theirs={"b": theirs}, of=[])
    assert sum(line.get_color() == figures.REPORT for axis in both.axes for line in axis.lines) == 2
    several = figures.loss_history([HISTORY, HISTORY[:2], HISTORY[:1]], theirs=theirs, of=[])
    assert sum(line.get_linewidth() < 1 for line in several.axes[0].lines) == 6, "each of ours, both losses"
    assert several.columns["other_1_train_loss"][:3] == [*(row["train_loss"] for row in HISTORY[:2]), ""]
    medians = [line for line in several.axes[0].lines if "median of 3" in str(line.get_label())]
    assert [len(line.get_ydata()) for line in medians] == [2, 2], "for as long as two of the three"
    study = figures.study_history(np.array([0.02, 0.012]), np.zeros(2, bool), 1, theirs=report.objectives(), of=[])
    steps = [line.get_ydata() for line in study.axes[0].lines if line.get_color() == figures.REPORT]
    assert min(steps[-1]) == pytest.approx(report.STUDY["best"], abs=5e-6)


def test_an_interval_is_that_of_the_mean():
    """Student's t for three: 4.30 standard errors."""
    assert tables.interval([1.0, 2.0, 3.0], ".2f") == "2.00 ±\u00a02.48"
    assert tables.interval([1.5], ".1f") == "1.5"


def test_the_lines_along_a_curve_are_means_and_its_columns_all_seeds():
    curve = figures.Curve("Error", {"net": ([0.1, 1], [[2, 4], [5]])}, {"line": ([0.1], [7])})
    drawn = figures.along([curve], "β", of=REPORT)
    assert drawn.columns["value"] == [2, 4, 5, 7]
    assert drawn.columns["line"] == ["net"] * 3 + ["line"]
    assert [*drawn.axes[0].lines[0].get_ydata()] == [3, 5]


def test_colours_are_those_of_one_table():
    """A figure names none of its own."""
    rooms = [file for file in Path(figures.__file__).parent.glob("*.py") if file.name != "drawing.py"]
    said = {
        f"{file.name}:{node.lineno} {node.value}"
        for file in rooms
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) > 1
        if node.value != "none" and is_color_like(node.value)
    }
    assert len(rooms) > 5
    assert not said
