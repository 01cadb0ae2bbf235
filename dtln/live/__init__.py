"""Live denoising: sound devices, the pipeline between them, and what a person sees and changes meanwhile."""
