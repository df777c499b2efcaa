"""Language models in 4 bits on a CPU."""
