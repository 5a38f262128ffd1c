"""The command `sfvae_jax`: its subcommands, and the errors of flags and config files."""
