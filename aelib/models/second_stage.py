"""The second stage (beyond the report): a variational autoencoder of codes, Dai and Wipf (2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aelib.errors import at_least_one
from aelib.models.base import Model
from aelib.models.variational import kl_to_standard_normal


@dataclass(frozen=True, kw_only=True)
class SecondStageConfig:
    """Shape of the second stage.

    Attributes:
        latent_dim: numbers of a code, as many as the autoencoder has that it stands on; and of its own codes.
        units: width of its two hidden layers, each way.
    """

    latent_dim: int = 30
    units: int = 256

    def __post_init__(self) -> None:
        at_least_one("latent_dim", self.latent_dim)
        at_least_one("units", self.units)


class SecondStage(Model):
    """Learns how the codes of an autoencoder are distributed, so that new ones can be drawn.

    Codes are brought to mean 0 and deviation 1 first; the variance of the decoder is that which makes the codes
    likeliest, the mean squared error, and so falls in training.
    """

    worth_compiling = False
    config_class = SecondStageConfig
    config: SecondStageConfig

    def __init__(self, config: SecondStageConfig | None = None) -> None:
        super().__init__(config)
        size, units = self.config.latent_dim, self.config.units
        self.encoder = nn.Sequential(
            nn.Linear(size, units), nn.LeakyReLU(), nn.Linear(units, units), nn.LeakyReLU(), nn.Linear(units, 2 * size)
        )
        self.decoder = nn.Sequential(
            nn.Linear(size, units), nn.LeakyReLU(), nn.Linear(units, units), nn.LeakyReLU(), nn.Linear(units, size)
        )
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        self.register_buffer("variance", torch.ones(()))
        self.mean: Tensor
        self.deviation: Tensor
        self.variance: Tensor

    @property
    def input_shape(self) -> tuple[int, ...]:
        """`(latent_dim,)`, a code."""
        return (self.config.latent_dim,)

    def standardise(self, codes: Tensor) -> None:
        """Take mean and deviation of `codes`, (N, latent_dim), for those of all."""
        self.mean.copy_(codes.mean(0))
        self.deviation.copy_(codes.std(0, correction=0).clamp_min(1e-6))

    def losses(self, codes: Tensor, labels: Tensor) -> dict[str, Tensor]:
        r"""`"loss"`, in nats a number of a code; `"reconstruction"`, squared error; `"kl"`, in nats: each (B,).

        .. math:: \ell = \frac12 \Big( \log \sigma^2 + \frac{\lVert z - \hat z \rVert^2}{D\,\sigma^2} \Big)
            + \frac{1}{D} D_\mathrm{KL}

        In training σ² is the mean squared error of the batch, which minimises it, and is kept for evaluation.
        """
        scaled = (codes - self.mean) / self.deviation
        mean, log_variance = self.encoder(scaled).float().chunk(2, 1)
        drawn = mean
        if self.training:
            drawn = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        error = (self.decoder(drawn).float() - scaled).square().mean(1)
        if self.training:
            with torch.no_grad():
                self.variance.copy_(error.mean().clamp_min(1e-6))
        kl = kl_to_standard_normal(mean, log_variance)
        # A copy: the next step changes what this one's gradients are computed with.
        variance = self.variance.clone()
        loss = (variance.log() + error / variance) / 2 + kl / self.config.latent_dim
        return {"loss": loss, "reconstruction": error, "kl": kl}

    def forward(self, codes: Tensor) -> Tensor:
        """What comes back of codes, (B, latent_dim): the same shape."""
        mean, _ = self.encoder((codes - self.mean) / self.deviation).chunk(2, 1)
        return self.decoder(mean) * self.deviation + self.mean

    @torch.no_grad()
    def prior(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` codes as it takes them to be distributed, (count, latent_dim): decoded N(0, I), and σ's noise."""
        size = count, self.config.latent_dim
        made = self.decoder(torch.randn(size, generator=generator))
        made = made + self.variance.sqrt() * torch.randn(size, generator=generator)
        return made * self.deviation + self.mean
