"""What the linearised decoder of a trained model says, and how far it can be trusted."""
