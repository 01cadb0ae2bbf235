"""Training on one CUDA GPU without Keras's steps; needs PyTorch.

A step through Keras spends most of its time in Python and in starting thousands of small kernels, because the LSTMs go
block by block. This room trains in a fraction of that time:

- Mixing, network, loss, gradient and optimizer of a step are recorded once as a CUDA graph, which is replayed.
- Several networks train side by side on the same batches, because one alone fills a small part of the GPU.
- Processes of the host draw segments with `dtln.mixing.Mixer`. Speech and noise lie apart in a pool on the GPU, where
  every step pairs some of them anew, at a new SNR and level. So the host may be slower than the GPU.

Network, loss and optimizer are those of `DTLN_model.py` and Keras, written a second time because Keras's own cannot be
recorded in a CUDA graph; tests/gpu/cuda_training.py compares the two. On a CPU everything runs as well, for tests.
"""

from dtln.gpu.settings import GPUSettings, NetworkSettings
from dtln.gpu.training import train_networks

__all__ = ["GPUSettings", "NetworkSettings", "train_networks"]
