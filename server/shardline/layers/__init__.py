"""The parallel layers a model is made of: which weights a rank reads, and its part of each product."""
