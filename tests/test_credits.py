"""Where what is shown is from, in words."""

import json

from conftest import some_provenance

from aelib import credits, runs
from aelib.book import pages
from aelib.book.cache import Execution


def stored(folder, count, provenance):
    for number in range(count):
        path = folder / f"net-{number:08x}"
        path.mkdir(exist_ok=True, parents=True)
        (path / "config.json").write_text(json.dumps({"seed": number % 3}))
        (path / "provenance.json").write_text(json.dumps(provenance | {"training_seconds": 2.0}))
        yield path


def test_runs_are_named_one_by_one_until_they_are_many(tmp_path):
    few = [*stored(tmp_path, credits.MANY, some_provenance())]
    lines = credits.origins(few, lambda path: "")
    assert [line.split("`")[1] for line in lines] == [path.name for path in few]
    many = [*stored(tmp_path, credits.MANY + 1, some_provenance())]
    (line,) = credits.origins(many, lambda path: "stale" if path == many[-1] else "", where="; there")
    assert f"{len(many)} runs of `net`: seeds 0, 1, 2, commit" in line
    assert f"{2 * len(many)} s on" in line
    assert "(stale)" in line, "of one of them"
    assert line.endswith("; there")
    other = tmp_path / "other-00000000"
    many[0].rename(other)
    assert len(credits.origins([*many[1:], other], lambda path: "")) == credits.MANY + 1


def test_many_summaries_are_one_table(tmp_path):
    """On the page about the build; runs that keep their weights are there one by one, however many."""
    paths = [*stored(tmp_path / "report", credits.MANY + 2, some_provenance())]
    for path in paths[1:]:
        labels = 10 + 10 * (path == paths[1])
        (path / "config.json").write_text(json.dumps({"seed": 0, "data": {"labels": labels}, "summary": True}))
    execution = Execution("key", {runs.portable(path): "" for path in paths}, 1.0, "made")
    said = pages.build_facts({"chapter": execution}, {}, lambda path: "")["runs"]
    whole, _, rest = said.partition("more runs of")
    assert [name for name in (path.name for path in paths) if f"<code>{name}</code>" in whole] == [paths[0].name]
    assert f"{credits.MANY + 1} more" in said
    rows = [line for line in rest.splitlines() if "_runs/" in line]
    assert [row.split("|")[2].strip() for row in rows] == ["labels 20", *["labels 10"] * credits.MANY]
    assert f"`rm -r $AELIB_RESULTS/report/{paths[1].name}; papermill book/chapter.ipynb out.ipynb`" in rest
