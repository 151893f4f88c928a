"""The variational autoencoder (report, Section 2.4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aelib.errors import AelibError, is_number
from aelib.models.autoencoder import AutoencoderConfig, SymmetricAutoencoder, squared_error


@dataclass(frozen=True, kw_only=True)
class VariationalConfig(AutoencoderConfig):
    """Shape of the autoencoder, and the weight of the divergence.

    Attributes:
        beta: multiplies the KL divergence, at least 0: twice the variance of the Gaussian decoder, so that 2 is unit
            variance; or None to have that variance learned.
    """

    beta: float | None = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta is None:
            return
        if not is_number(self.beta) or not 0 <= self.beta < float("inf"):
            raise AelibError(f"beta must be a number of at least 0, or None to have it learned, not {self.beta!r}")
        object.__setattr__(self, "beta", float(self.beta))  # 2 and 2.0 are one configuration


class VariationalAutoencoder(SymmetricAutoencoder):
    """A symmetric autoencoder whose code is a normal distribution; `encode` gives its mean."""

    config_class = VariationalConfig
    config: VariationalConfig

    def __init__(self, config: VariationalConfig | None = None) -> None:
        super().__init__(config)
        self.log_variance = nn.Linear(self.config.linear_units, self.config.latent_dim)
        if self.config.beta is None:
            self.register_buffer("error", torch.tensor(0.1))  # about the variance of pixels

    def weight(self, reconstruction: Tensor) -> Tensor | float:
        """β; where it is learned (Rybkin et al. 2021) 2 σ², with the variance σ² that makes the images likeliest.

        That is the mean squared error of a pixel, here a running mean of it over some ten batches of training: the
        gradient is then that of the logarithm of the error, and of the divergence beside it, but for the scale.

        Args:
            reconstruction: the squared errors of a batch, (B,).
        """
        if self.config.beta is not None:
            return self.config.beta
        error = self.get_buffer("error")
        if self.training:
            with torch.no_grad():
                error.lerp_(reconstruction.mean(), 0.1)
        return 2 * error.clone()  # the next batch changes it

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the code: a tensor of images, (B, 1, 28, 28) in [0, 1] → two (B, latent_dim)."""
        hidden = self.hide(images)  # (B, linear_units)
        return self.latent(hidden).float(), self.log_variance(hidden).float()

    def draw(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Draws from the posteriors of images, (B, 1, 28, 28): (B, latent_dim)."""
        mean, log_variance = self.posterior(images)
        return mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=generator)

    def prior(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` draws from N(0, I): (count, latent_dim)."""
        return torch.randn(count, self.config.latent_dim, generator=generator)

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        r"""`"loss"` = `"reconstruction"` + β `"kl"` / pixels, each (B,).

        .. math:: \ell = \frac{1}{784} \Big( \lVert x - \hat x \rVert^2 + \beta\, D_\mathrm{KL} \Big)

        The squared error is a mean over the pixels, the divergence a sum over the latent units, in nats; divided by
        the 784 pixels it has the weight that it has beside a *sum* of squared errors. The code is drawn in training
        (`z = μ + σ ε`, so that gradients pass through μ and σ) and is the mean otherwise.
        """
        mean, log_variance = self.posterior(images)
        codes = mean
        if self.training:
            codes = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        reconstruction = squared_error(self.decode(codes), images)
        kl = kl_to_standard_normal(mean, log_variance)
        loss = reconstruction + self.weight(reconstruction) * kl / images[0].numel()
        return {"loss": loss, "reconstruction": reconstruction, "kl": kl}


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""KL divergence of N(μ, diag σ²) from N(0, I), in nats: two (B, D) → (B,).

    .. math:: D_\mathrm{KL} = \frac12 \sum_i \left( \mu_i^2 + \sigma_i^2 - 1 - \log \sigma_i^2 \right)

    Kingma and Welling (2014), Appendix B.

    >>> kl_to_standard_normal(torch.zeros(2, 3), torch.zeros(2, 3))
    tensor([0., 0.])
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
