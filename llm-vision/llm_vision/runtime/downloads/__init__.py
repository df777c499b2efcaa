"""Weights from the network onto their volumes."""
