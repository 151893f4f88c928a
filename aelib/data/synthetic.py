"""Synthetic garments: ten drawn classes in the form of FashionMNIST.

They are no substitute for the data: they let the tests, and a machine that has no data, walk every line.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

from aelib.data.batches import Garments

_SCALE = 4  # drawn larger, then averaged down: soft edges

# One silhouette a class, in the order of `data.CLASSES`: polygons in pixels of a 28×28 image, the second and
# later ones darker or cut out, each as (shade, points); shade 0 cuts.
_BODY: list[tuple[float, float]] = [(9, 3), (12, 5), (16, 5), (19, 3), (20, 26), (8, 26)]
_SILHOUETTES: list[list[tuple[float, list[tuple[float, float]]]]] = [
    [(1.0, _BODY), (0.9, [(9, 3), (2, 9), (5, 13), (9, 9)]), (0.9, [(19, 3), (26, 9), (23, 13), (19, 9)])],
    [(1.0, [(9, 2), (19, 2), (20, 26), (15.5, 26), (14, 9), (12.5, 26), (8, 26)])],
    [(1.0, _BODY), (0.85, [(9, 3), (3, 24), (7, 25), (10, 10)]), (0.85, [(19, 3), (25, 24), (21, 25), (18, 10)])],
    [(1.0, [(11, 2), (13, 5), (15, 5), (17, 2), (17, 11), (21, 27), (7, 27), (11, 11)])],
    [
        (0.9, [(8, 2), (12, 4), (16, 4), (20, 2), (22, 27), (6, 27)]),
        (1.0, [(8, 2), (2, 23), (6, 24), (9, 9)]),
        (1.0, [(20, 2), (26, 23), (22, 24), (19, 9)]),
        (0.4, [(13.5, 4), (14.5, 4), (14.5, 27), (13.5, 27)]),
    ],
    [
        (0.8, [(2, 19), (26, 15), (27, 19), (3, 22)]),
        (0.9, [(8, 19), (10, 12), (12, 12), (11, 18)]),
        (0.9, [(17, 17), (18, 10), (24, 9), (25, 12), (20, 13), (20, 16)]),
    ],
    [
        (0.7, _BODY),
        (0.6, [(9, 3), (3, 15), (6, 17), (10, 10)]),
        (0.6, [(19, 3), (25, 15), (22, 17), (18, 10)]),
        (1.0, [(12, 3), (14, 7), (16, 3)]),
        (0.3, [(13.6, 7), (14.4, 7), (14.4, 26), (13.6, 26)]),
    ],
    [
        (0.9, [(2, 19), (3, 14), (10, 15), (18, 10), (26, 13), (26, 20), (2, 20)]),
        (0.4, [(2, 20), (26, 20), (26, 22), (2, 22)]),
    ],
    [
        (0.9, [(4, 11), (24, 11), (26, 25), (2, 25)]),
        (0.6, [(9, 11), (10, 4), (18, 4), (19, 11), (17, 11), (16, 6), (12, 6), (11, 11)]),
    ],
    [
        (1.0, [(3, 20), (4, 16), (14, 14), (15, 3), (24, 3), (25, 21), (3, 21)]),
        (0.5, [(3, 21), (25, 21), (25, 24), (20, 24), (19, 22), (3, 23)]),
    ],
]


def _draw(label: int, rng: np.random.Generator) -> np.ndarray:
    """One garment of class `label`: (28, 28), uint8."""
    size = 28 * _SCALE
    image = Image.new("L", (size, size))
    canvas = ImageDraw.Draw(image)
    stretch = rng.uniform(0.82, 1.05, 2)
    shift = rng.uniform(-1, 1, 2)
    slant = rng.uniform(-0.06, 0.06)
    shade = rng.uniform(110, 250)
    for brightness, points in _SILHOUETTES[label]:
        corners = (np.array(points) - 14) * stretch + rng.normal(0, 0.25, (len(points), 2))
        corners[:, 0] += slant * corners[:, 1]
        corners = (corners + shift + 14) * _SCALE
        canvas.polygon([tuple(corner) for corner in corners.tolist()], fill=int(brightness * shade))
    soft = image.filter(ImageFilter.BoxBlur(1)).resize((28, 28), Image.Resampling.BOX)
    garment = np.asarray(soft, dtype=np.float32)
    # Stripes and weave: something finer than the outline to reconstruct.
    rows = np.arange(28)[:, None]
    stripes = 1 - rng.choice([0, 0.35]) * (np.sin(rows * rng.uniform(0.8, 2.5) + rng.uniform(0, 6)) > 0)
    weave = rng.normal(1, 0.04, (28, 28))
    return np.clip(garment * stripes * weave, 0, 255).astype(np.uint8)


@cache
def garments(train: int, test: int, seed: int = 0) -> Garments:
    """`train` + `test` garments, the ten classes in turn; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    labels = np.arange(train + test) % 10
    images = np.stack([_draw(int(label), rng) for label in labels])[:, None]
    return Garments(
        train_images=torch.from_numpy(images[:train]),
        train_labels=torch.from_numpy(labels[:train]),
        test_images=torch.from_numpy(images[train:]),
        test_labels=torch.from_numpy(labels[train:]),
        name="synthetic garments",
        sha256=hashlib.sha256(images.tobytes()).hexdigest(),
    )
