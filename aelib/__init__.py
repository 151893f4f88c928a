"""Autoencoders on FashionMNIST: models, data, training, experiments and figures of a 2022 report, reproduced."""

__version__ = "0.1.0"
