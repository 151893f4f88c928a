"""Images: FashionMNIST, synthetic garments or one's own; their split, and whole batches of them."""

from aelib.data.batches import (
    CLASSES,
    IMAGE_SIZE,
    SPLIT_SEED,
    Batches,
    GarmentLoaders,
    Garments,
    SplitConfig,
    epoch_seed,
)
from aelib.data.fashion_mnist import FILES, SHA256, cache_folder, fetch, load

__all__ = [
    "CLASSES",
    "FILES",
    "IMAGE_SIZE",
    "SHA256",
    "SPLIT_SEED",
    "Batches",
    "GarmentLoaders",
    "Garments",
    "SplitConfig",
    "cache_folder",
    "epoch_seed",
    "fetch",
    "load",
]
