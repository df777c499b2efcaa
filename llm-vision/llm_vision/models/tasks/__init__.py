"""What a service asks a model, and what the model answers: one class each, which alone knows its JSON."""
