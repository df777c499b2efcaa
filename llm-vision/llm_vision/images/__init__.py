"""Pictures in: where they come from, how they are decoded, what their colours are."""
