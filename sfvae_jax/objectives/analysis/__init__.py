"""What follows from a linear or an optimal decoder in closed form; no training objectives."""
