"""Where what is shown is from, in words."""

import json

from conftest import some_provenance

from aelib import credits


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
