"""What loads, runs and unloads models; knows no product feature."""
