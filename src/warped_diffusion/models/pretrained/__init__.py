"""Image models of the diffusers library behind the denoiser contract."""
