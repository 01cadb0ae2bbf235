"""Training on one CUDA GPU without Keras."""
