"""The published batch graph (benchmarks/published.py) under Keras 2 (`tf_keras`), as a script.

keras2_graph.py SIGNAL.npy RESULT.npz FIRST.h5 [SECOND.h5 ...]

Loads each weights file with Keras 2's own `load_weights` and saves what the network makes of the signal (B, L) under
the file's stem. A file whose stem begins with `norm` is loaded into the graph with normalised log magnitudes.
Of this toolkit only that restatement is imported, which itself imports nothing of it.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import published


def main(signal_file, result_file, *weights_files):
    tf_keras = published.keras_module(keras2=True)
    assert tf_keras.__version__.startswith("2."), tf_keras.__version__
    signal = np.load(signal_file)
    results = {}
    for path in map(Path, weights_files):
        model = published.build_graph(tf_keras, normalise=path.stem.startswith("norm"))
        model.load_weights(str(path))
        results[path.stem] = model.predict(signal, verbose=0)
    np.savez(result_file, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
