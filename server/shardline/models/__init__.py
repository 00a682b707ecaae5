"""The models: a file holds only the model."""
