"""How noisy a model's training is, and how long it takes."""
