"""t-SNE of 10,000 codes: what it costs, and how good the map is, by settings and by library.

The KL divergence is computed exactly, over all pairs, for each map; neighbours kept are the share of a code's ten
nearest codes that are among its ten nearest on the map. Each map is made twice, to see whether it comes out the same.
openTSNE and scikit-learn-intelex are measured where they are installed.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from aelib import experiments, latent, metrics

PERPLEXITY = 80


def affinities(codes: np.ndarray) -> np.ndarray:
    """Joint probabilities of all pairs, (N, N), as t-SNE defines them; the widths by bisection."""
    squared = cdist(codes, codes, "sqeuclidean")
    low, high = np.full((len(codes), 1), 1e-8), np.full((len(codes), 1), 1e8)
    for _ in range(60):
        width = np.sqrt(low * high)
        logits = -squared / width
        np.fill_diagonal(logits, -np.inf)
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(1, keepdims=True)
        wide = entropy > np.log(PERPLEXITY)
        low, high = np.where(wide, low, width), np.where(wide, width, high)
    return (p + p.T) / (2 * len(codes))


def divergence(p: np.ndarray, points: np.ndarray) -> float:
    """KL(P ‖ Q) in nats, over all pairs."""
    q = 1 / (1 + cdist(points, points, "sqeuclidean"))
    np.fill_diagonal(q, 0)
    q /= q.sum()
    return float((p * np.log(np.maximum(p, 1e-300) / np.maximum(q, 1e-300))).sum())


def kept(codes: np.ndarray, points: np.ndarray) -> float:
    """Share of the ten nearest neighbours that are among the ten nearest on the map, in [0, 1]."""
    near = [NearestNeighbors(n_neighbors=10).fit(each).kneighbors(return_distance=False) for each in (codes, points)]
    return float(np.mean([len(np.intersect1d(*pair)) / 10 for pair in zip(*near, strict=True)]))


def ways(codes: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    points, _ = latent.pca(codes)
    start = (points / points[:, 0].std() * 1e-4).astype(np.float32)

    def sklearn(**options) -> np.ndarray:
        return TSNE(perplexity=PERPLEXITY, init=start, random_state=0, **options).fit_transform(codes)

    found: dict[str, Callable[[], np.ndarray]] = {
        "scikit-learn": sklearn,
        "scikit-learn, angle 0.8": lambda: sklearn(angle=0.8),
        "scikit-learn, angle 1.0": lambda: sklearn(angle=1.0),
        "scikit-learn, 500 iterations": lambda: sklearn(max_iter=500),
    }
    if importlib.util.find_spec("sklearnex"):
        from sklearnex.manifold import TSNE as Intel

        def intel(**options) -> np.ndarray:
            return Intel(perplexity=PERPLEXITY, init=start, random_state=0, **options).fit_transform(codes)

        found["scikit-learn-intelex"] = intel
        found["scikit-learn-intelex, angle 0.2"] = lambda: intel(angle=0.2)
    if importlib.util.find_spec("openTSNE"):
        from openTSNE import TSNE as Open

        for method in ("fft", "bh"):
            found[f"openTSNE, {method}"] = lambda method=method: np.asarray(
                Open(
                    perplexity=PERPLEXITY,
                    initialization=start,
                    random_state=0,
                    n_jobs=2,
                    negative_gradient_method=method,
                ).fit(codes)
            )
    return found


def main() -> None:
    trained = experiments.open_run(experiments.obtain("convolutional"))
    codes = trained.codes.astype(np.float32)
    p = affinities(codes)
    print(f"{'':<34}{'seconds':>9}{'KL':>9}{'neighbours kept':>17}{'class of neighbours':>21}{'same again':>12}")
    for name, make in ways(codes).items():
        began = time.perf_counter()
        points, again = make(), make()
        seconds = (time.perf_counter() - began) / 2
        vote = metrics.neighbour_accuracy(points, trained.labels)
        print(
            f"{name:<34}{seconds:>9.1f}{divergence(p, points):>9.4f}{kept(codes, points):>17.3f}{vote:>21.3f}"
            f"{'yes' if np.array_equal(points, again) else 'no':>12}",
            flush=True,
        )


if __name__ == "__main__":
    main()
