"""What a manifest says of a generator, wherever its models run.

Shape suffixes: N samples, H entries of a latent.
"""

from edgeloop.generator import Latents, check_width, on_sphere
from edgeloop.generators.manifest import Manifest


class DescribedGenerator:
    """A generator with a manifest.

    Attributes:
        manifest: its own.
    """

    manifest: Manifest

    @property
    def identity(self) -> str:
        """SHA-256 of its weights."""
        return self.manifest.identity

    @property
    def latent_dim(self) -> int:
        """H."""
        return self.manifest.latent_dim

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image."""
        return self.manifest.shape

    def normalise(self, latents_NH: Latents) -> Latents:
        """Return the latents (N, H) that images are really made from."""
        check_width(latents_NH, self.latent_dim)
        return on_sphere(latents_NH, self.manifest.sphere)
