"""What the model is asked to predict: sums and the denominators they contribute. Layer 4."""
