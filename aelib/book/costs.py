"""What the page `costs` says, from what the benchmarks have recorded: substitutions, tables and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aelib import figures, verdicts
from aelib.book.pages import provenance, remark, table
from aelib.credits import commit
from aelib.provenance import precision_of


def said(benchmarks: Path) -> dict[str, str]:
    """What the page substitutes, as Markdown by name.

    Args:
        benchmarks: the folder with the JSON files that they have written.
    """
    record, grown, gpu, processor = (_read(benchmarks, name) for name in ("record", "growth", "gpu", "losses-cpu"))
    return costs(record) | costs_on_a_gpu(gpu, processor) | growth(grown)


def draw(benchmarks: Path, folder: Path) -> None:
    """Draw its figures into `folder`."""
    grown = _read(benchmarks, "growth")

    def panel(part: str, cost: str, lines: dict[str, str], unit: float = 1.0) -> figures.CostPanel:
        columns = {what: [row[name] / unit for row in grown[part]] for name, what in lines.items()}
        return figures.CostPanel(part.capitalize(), [row["count"] for row in grown[part]], cost, columns)

    drawings = {
        "growth": [
            panel("images", "Seconds", {"epoch": "an epoch", "tsne": "t-SNE", "encode": "encoding"}),
            panel("images", "Peak memory, GB", {"memory": "training", "memory_with_tsne": "with t-SNE"}, 1e9),
        ],
        "growth-search": [
            panel("trials", "Milliseconds", {"read": "reading the study", "proposal": "the next proposal"}, 1e-3),
            panel("workers", "Epochs an hour", {"epochs": "all together"}),
        ],
    }
    where = _where(grown["provenance"])
    source = f"Drawn by `aelib book` from what `python benchmarks/growth.py` has measured on {where}."
    for name, panels in drawings.items():
        drawing, path = figures.growth(panels, of=[]), folder / f"fig-x-{name}"
        drawing.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        drawing.savefig(path.with_suffix(".png"), dpi=figures.DPI)
        path.with_suffix(".csv").write_text(drawing.csv())
        files = [path.with_suffix(suffix) for suffix in (".svg", ".png", ".csv")]
        path.with_suffix(".md").write_text(remark(provenance(files, source)))


def costs(record: Mapping[str, Any]) -> dict[str, str]:
    """What `benchmarks/run.py` has measured: where, the speeds, and what else it noted of trainings."""
    ceilings, speeds, trainings = record["ceilings"], [], []
    for row in record["rows"]:
        share = "–" if row["ceiling"] is None else f"{100 * row['ceiling']:.0f} %"
        ways = [f"{row[way]:,.0f}" for way in ("plain", "aelib")]
        speeds.append([row["what"], row["unit"], *ways, f"**{row['aelib'] / row['plain']:.2f}**", share])
        if row["losses"]:
            memory = [f"{each / 1e9:.2f}" for each in row["memory"]]
            whole = [f"**{row['whole']:.2f}**", f"{row['start'][1]:.0f}"]  # first: on a phone the table is cut off
            trainings.append([row["what"].removeprefix("training, "), *whole, *map(_spread, row["losses"]), *memory])
    quickest = max(ceilings, key=ceilings.__getitem__)
    header = ["Training", "Ratio, whole", "Start", "Loss, tutorial's way", "ours", "Memory, tutorial's way", "ours"]
    return {
        "costs_where": _where(record["provenance"]),
        "costs_precision": precision_of(record["engine"]),
        "costs_most": f"{ceilings[quickest]:,.0f} GFLOP/s in {quickest}",
        "costs_speeds": table(["What", "", "Tutorial's way", "Ours", "Ratio", "Share"], speeds),
        "costs_trainings": table(header, trainings),
    }


def costs_on_a_gpu(record: Mapping[str, Any], processor: Mapping[str, Any]) -> dict[str, str]:
    """What `benchmarks/gpu.py` has measured: on which card, in which ways, and how good it is.

    Args:
        processor: what `benchmarks/losses.py` has found on a processor.
    """
    about, ceilings, card, search = (record[name] for name in ("provenance", "ceilings", "card", "search"))
    speeds, losses, inside, of = [], [], 0, 0
    for name, way in record["ways"].items():
        seconds, step = way["epoch_seconds"], way["step"]
        # The least that 200 steps take: their bytes or their operations, whichever takes longer.
        floor = 200 * max(step["traffic_bytes"] / ceilings["copy_bytes"], step["flops"] / ceilings["tf32"])
        ratio, share = f"**{seconds['plain'] / seconds['aelib']:.0f}**", f"{100 * floor / seconds['aelib']:.0f} %"
        speeds.append([name, f"{seconds['plain']:.1f}", f"{seconds['aelib']:.3f}", ratio, share])
    for way, seeds in processor["losses"].items():
        here, there = (
            [epochs[-1]["validation_loss"] for epochs in each.values()]
            for each in (record["losses"]["losses"][way], seeds)
        )
        low, high = verdicts.estimate(np.array(there)).prediction()
        inside, of = inside + sum(low <= loss <= high for loss in here), of + len(here)
        losses.append([way, _spread(here), _spread(there)])
    # The report corrupts per batch; per image, the other way, is left out.
    whole = sum(each["seconds"] for each in record["trainings"]["seed 0"] if each["way"] != "denoising")
    return {
        "gpu_card": card["name"],
        "gpu_cores": str(card["cores"]),
        "gpu_torch": f"PyTorch {about['versions']['torch']}, {about['finished'][:10]}",
        "gpu_commit_epochs": commit({**about, "commit": record["commits"]["ways"]}, 8),
        "gpu_commit": commit(about, 8),
        "gpu_speeds": table(["Training", "Tutorial's way", "Ours", "Ratio", "Share"], speeds),
        "gpu_decoded_by_all": f"{record['ways']['convolutional']['epoch_seconds']['workers']:.1f} s",
        "gpu_whole": f"{whole:.0f} s",
        "gpu_trials": f"{len(search['trials'])} trials of the report's search in {search['seconds']:.0f} s",
        "gpu_epochs": f"{search['epochs']:,} epochs took {search['seconds'] / search['epochs']:.2f} s",
        "gpu_losses": table(["Training", "GPU", "Processor"], losses),
        "gpu_of": str(of),
        "gpu_inside": str(inside),
    }


def growth(record: Mapping[str, Any]) -> dict[str, str]:
    """What `benchmarks/growth.py` has measured: where, and by how much each cost has grown."""
    rows = []
    for part, names in _GROWING.items():
        first, last = record[part][0], record[part][-1]
        more = f"{first['count']:,} → {last['count']:,} {part}", f"{last['count'] / first['count']:.0f} ×"
        rows += [[what, *more, f"{last[name] / first[name]:.1f} ×"] for name, what in names.items()]
    header = ["What", "From → to", "Growth of that", "Growth of this"]
    return {"growth_where": _where(record["provenance"]), "growth": table(header, rows)}


_GROWING = {
    "images": {
        "epoch": "seconds of an epoch",
        "encode": "seconds to encode the test images",
        "tsne": "seconds of t-SNE",
        "memory": "peak memory of a training",
        "memory_with_tsne": "peak memory with t-SNE",
    },
    "trials": {
        "read": "seconds to read the study",
        "proposal": "seconds to the next proposal",
        "disk": "the journal on disk",
    },
    "workers": {"epochs": "epochs an hour, all together", "memory": "their memory, all together"},
}


def _read(benchmarks: Path, name: str) -> dict[str, Any]:
    return json.loads((benchmarks / f"{name}.json").read_text())


def _where(about: Mapping[str, Any]) -> str:
    hardware = f"{about['hardware']['processor']} with {about['hardware']['cores']} cores"
    return f"{hardware} at commit {commit(about)}, {about['finished'][:10]}"


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.5f} ± {np.std(values, ddof=1):.5f}"
