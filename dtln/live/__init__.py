"""Live denoising: sound devices, the audio callback and the session around it."""
