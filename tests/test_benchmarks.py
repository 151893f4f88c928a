"""What `make bench` says of a record, and that the losses of first epochs can be had."""

import json

import pytest
from conftest import ROOT


@pytest.mark.parametrize(
    ("aelib", "cores", "status"),
    [(4, 2, 0), (3.1, 2, 0), (2.9, 2, 1), (2.9, 4, 0)],
    ids=["same", "less", "fallen", "else"],
)
def test_a_ratio_fails_only_against_a_record_of_the_same_hardware(monkeypatch, capsys, aelib, cores, status):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import run

    row = {"what": "training", "plain": 100.0, "aelib": 400.0}
    recorded = {"provenance": {"hardware": {"cores": 2}}, "engine": {"precision": "bf16"}, "rows": [row]}
    now = run.Row("training", "images/s", 100.0, 100.0 * aelib)
    assert run.compare([now], recorded, hardware={"cores": cores}, engine={"precision": "bf16"}) == status
    told = capsys.readouterr().out
    assert ("FALLEN: training: 2.90, was 4.00" in told) == (aelib == 2.9)
    assert ("other hardware" in told) == (cores == 4)


def test_losses_of_first_epochs_are_added_once(all_tiny, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import losses

    from aelib import compilation, profiles

    tiny = profiles.PROFILES["smoke"]
    monkeypatch.setitem(profiles.PROFILES, "report", tiny)
    monkeypatch.setattr(losses.data, "load", tiny.garments)
    monkeypatch.setattr(compilation, "available", lambda: False)
    monkeypatch.setattr(losses, "WAYS", {"variational": ("variational", {})})
    monkeypatch.setattr(losses, "SEEDS", range(1))
    path = tmp_path / "losses.json"
    losses.main(path)
    record = json.loads(path.read_text())
    assert len(record["losses"]["variational"]["0"]) == losses.EPOCHS
    assert record["engine"]["precision"] == "float32"
    monkeypatch.setattr(losses, "losses", lambda *_: pytest.fail("it is there"))
    losses.main(path)
