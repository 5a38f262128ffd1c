"""What `sfvae_jax.load` reads of a folder, and what users give to and take from its `Run`."""
