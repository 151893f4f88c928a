"""Images: FashionMNIST, synthetic garments or one's own; their split, and whole batches of them."""

from aelib.data.batches import (
    CLASSES,
    IMAGE_SIZE,
    LATER,
    SPLIT_SEED,
    Batches,
    GarmentLoaders,
    Garments,
    SampleConfig,
    SplitConfig,
    epoch_seed,
    in_turns,
)
from aelib.data.fashion_mnist import FILES, SHA256, cache_folder, fetch, load
