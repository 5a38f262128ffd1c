"""Settings that several config files share, so that each stands in one place."""
