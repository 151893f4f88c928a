"""The tables and the figures of the page `costs`, from what the benchmarks have recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aelib import figures, runs, verdicts
from aelib.book.pages import table
from aelib.origin import commit


def write(benchmarks: Path, folder: Path) -> None:
    """Write them into `folder` and its `_figures`.

    Args:
        benchmarks: the folder with the JSON files that they have written.
    """
    record, grown, gpu, processor = (
        json.loads((benchmarks / f"{name}.json").read_text()) for name in ("record", "growth", "gpu", "losses-cpu")
    )
    (folder / "_build_costs.md").write_text(costs(record) + costs_on_a_gpu(gpu, processor))
    (folder / "_build_growth.md").write_text(growth(grown))

    def panel(part: str, cost: str, lines: dict[str, str], unit: float = 1.0) -> figures.Growing:
        columns = {what: [row[name] / unit for row in grown[part]] for name, what in lines.items()}
        return figures.Growing(part.capitalize(), [row["count"] for row in grown[part]], cost, columns)

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
    for name, panels in drawings.items():
        figures.growth(panels, of=[]).savefig(folder / "_figures" / f"fig-x-{name}.svg", metadata={"Date": None})


def costs(record: Mapping[str, Any]) -> str:
    """What `benchmarks/run.py` has measured, as Markdown: where, the speeds, and what else it noted of trainings."""
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
    return _paragraphs(
        f"{_measured(record['provenance'])}; trainings run in {runs.precision(record['engine'])} there. "
        f"Products of large matrices reach {ceilings[quickest]:,.0f} GFLOP/s in {quickest}; "
        "the last column is the share of that.",
        _numbered(
            "tab-x-costs",
            "What it costs: speeds of two ways that took turns, medians; t-SNE and the book, once each.",
            ["What", "", "Tutorial's way", "Ours", "Ratio", "Share"],
            speeds,
        ),
        _numbered(
            "tab-x-costs-trainings",
            "The trainings above: the ratio of whole trainings, their start included, of as many epochs as those of "
            "the report took here; seconds that our first epoch takes longer, most of them for compilation; "
            "validation loss after the same epochs (mean and standard deviation of seeds); peak memory in GB.",
            ["Training", "Ratio, whole", "Start", "Loss, tutorial's way", "ours", "Memory, tutorial's way", "ours"],
            trainings,
        ),
    )


def costs_on_a_gpu(record: Mapping[str, Any], processor: Mapping[str, Any]) -> str:
    """What `benchmarks/gpu.py` has measured, as Markdown: on which card, in which ways, and how good it is.

    Args:
        processor: what `benchmarks/losses.py` has found on a processor.
    """
    about, ceilings, card, search = (record[name] for name in ("provenance", "ceilings", "card", "search"))
    rows, losses, inside, of = [], [], 0, 0
    for name, way in record["ways"].items():
        seconds, step = way["epoch_seconds"], way["step"]
        # The least that 200 steps take: their bytes or their operations, whichever takes longer.
        floor = 200 * max(step["traffic_bytes"] / ceilings["copy_bytes"], step["flops"] / ceilings["tf32"])
        ratio, share = seconds["plain"] / seconds["aelib"], 100 * floor / seconds["aelib"]
        rows.append([name, f"{seconds['plain']:.1f}", f"{seconds['aelib']:.3f}", f"**{ratio:.0f}**", f"{share:.0f} %"])
    for way, seeds in processor["losses"].items():
        here, there = (
            [epochs[-1]["validation_loss"] for epochs in each.values()]
            for each in (record["losses"]["losses"][way], seeds)
        )
        low, high = verdicts.estimate(np.array(there)).prediction()
        inside, of = inside + sum(low <= loss <= high for loss in here), of + len(here)
        losses.append([way, _spread(here), _spread(there)])
    processors = record["ways"]["convolutional"]["epoch_seconds"]["workers"]
    # The report corrupts per batch; per image, the other way, is left out.
    whole = sum(each["seconds"] for each in record["trainings"]["seed 0"] if each["way"] != "denoising")
    earlier = commit({**about, "commit": record["commits"]["ways"]}, 8)
    return _paragraphs(
        f"On one {card['name']} and {card['cores']} cores, with PyTorch {about['versions']['torch']}, "
        f"{about['finished'][:10]}, epochs at commit {earlier} and the rest at {commit(about, 8)}: "
        "epochs of the report, of 51,200 images, with validation.",
        _numbered(
            "tab-x-costs-gpu",
            "The same on a GPU: seconds of an epoch in the tutorial's way and in ours; and as a share of our epoch "
            "what its steps take at least, at the speed of a large copy, were each operation a kernel.",
            ["Training", "Tutorial's way", "Ours", "Ratio", "Share"],
            rows,
        ),
        f"The tutorial's way waits for its images there, which one process decodes; with {card['cores']} "
        f"processes for that, its autoencoder takes {processors:.1f} s an epoch.",
        f"All that the report trains, to its early stops and measured, without t-SNE, took {whole:.0f} s. Four "
        f"workers at once made {len(search['trials'])} trials of the report's search in {search['seconds']:.0f} s; "
        f"their {search['epochs']:,} epochs took {search['seconds'] / search['epochs']:.2f} s each, as long as "
        "those of one training alone, which fills the card.",
        _numbered(
            "tab-x-losses-gpu",
            "Does it train the same? Validation losses after five epochs on that GPU, in TF32, and on a processor, in "
            "float32; mean and standard deviation of five seeds.",
            ["Training", "GPU", "Processor"],
            losses,
        ),
        f"Of the {of} losses on the GPU {inside} lie where the processor's seeds predict the next one at 95 %.",
    )


def growth(record: Mapping[str, Any]) -> str:
    """What `benchmarks/growth.py` has measured, as Markdown: where, and by how much each cost has grown."""
    rows = []
    for part, names in _GROWING.items():
        first, last = record[part][0], record[part][-1]
        more = f"{first['count']:,} → {last['count']:,} {part}", f"{last['count'] / first['count']:.0f} ×"
        rows += [[what, *more, f"{last[name] / first[name]:.1f} ×"] for name, what in names.items()]
    return _paragraphs(
        f"{_measured(record['provenance'])}.",
        _numbered(
            "tab-x-growth",
            "What grows, and how: the largest measurement over the smallest.",
            ["What", "From → to", "Growth of that", "Growth of this"],
            rows,
        ),
    )


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


def _measured(about: Mapping[str, Any]) -> str:
    hardware = f"{about['hardware']['processor']} with {about['hardware']['cores']} cores"
    return f"Measured on {hardware} at commit {commit(about)}, {about['finished'][:10]}"


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.5f} ± {np.std(values, ddof=1):.5f}"


def _numbered(name: str, caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return f"```{{table}} {caption}\n:name: {name}\n\n{table(header, rows)}```"


def _paragraphs(*texts: str) -> str:
    return "\n\n".join(texts) + "\n\n"
