"""Train core 1 on what it alone makes of the signal: by itself, or beside the whole network.

    %(prog)s --alone --init-weights old.h5 --run-name core_1 --speech SPEECH --noise NOISE
    %(prog)s --share 0.2 --init-weights models_core_1/core_1_last.h5 --run-name both --speech SPEECH --noise NOISE

Core 1's estimate is its masked blocks brought back to a signal, each sample the mean over the blocks that cover it.
--alone trains core 1 on that, in half the time of a step; the rest of the network stays as it is. --share X trains the
whole network and adds X times the loss of core 1's estimate to that of the output. All other flags and files are those
of run_training.py with the engine keras. Weights that started from the MDCT want `open_core_1_mask.py` once before.
See research/README.md for what it gave.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
from keras import ops

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import DTLN_model as dtln
from dtln.commands import train_flags as train
from dtln.commands import train_keras
from dtln.errors import AudioFileError, SettingsError, WeightsFileError


@keras.saving.register_keras_serializable("DTLN")
class OverlapMean(dtln.OverlapAdd):
    """As `OverlapAdd`, but each sample is the mean over the blocks that cover it: unchanged blocks give the signal."""

    def call(self, inputs: Sequence[Any]) -> Any:
        blocks, signal = inputs
        return super().call(inputs) / super().call([ops.ones_like(blocks[:1]), signal])  # (B, L)


def core_1_estimate(network: dtln.DTLNNetwork) -> Any:
    """What core 1 of a batch network alone makes of the signal: a symbolic tensor (B, L)."""
    sizes = (network.config.block_length, network.config.block_shift)
    return OverlapMean(*sizes, name="core_1_estimate")([network.dtln_layers.masked_blocks.output, network.input])


def core_1_network(network: dtln.DTLNNetwork) -> dtln.DTLNNetwork:
    """Core 1 of a network alone, (B, L) -> (B, L), weights shared. Its `.h5` files hold the whole network."""
    estimate = core_1_estimate(network)
    return dtln.DTLNNetwork(network.input, estimate, name="dtln_core_1").attach(network.dtln_layers)


class SupervisedNetwork(dtln.DTLNNetwork):
    """A batch network whose core 1 is trained towards the target, too; made by `supervise_core_1`.

    In training its call returns what core 1 alone makes of the signal as well, and its loss is that of the output plus
    `core_1_loss` times that of core 1. In validation there is the loss of the output alone.
    """

    core_1_loss: float

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        estimates = super().call(inputs, training=training, mask=mask)
        return estimates if training else estimates[0]

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        if not training:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        estimate, of_core_1 = y_pred
        loss = super().compute_loss(x, y, estimate, sample_weight, training)
        return loss + self.core_1_loss * ops.mean(self.loss(ops.convert_to_tensor(y), of_core_1))


def supervise_core_1(network: dtln.DTLNNetwork, core_1_loss: float) -> SupervisedNetwork:
    """The same network, weights shared, for training with a loss of core 1's own as well; see `SupervisedNetwork`.

    Lee et al., "Deeply-supervised nets", AISTATS 2015; not in the paper. Core 1 is told directly what it leaves over,
    and core 2 refines what it hears.
    """
    supervised = SupervisedNetwork(network.input, [network.output, core_1_estimate(network)], name="dtln")
    supervised.core_1_loss = core_1_loss
    return supervised.attach(network.dtln_layers)


def main(argv: Sequence[str] | None = None) -> int:
    """Trains; returns the exit status."""
    own = argparse.ArgumentParser("core_1.py", add_help=False, allow_abbrev=False)
    own.add_argument("--alone", action="store_true")
    own.add_argument("--share", type=float)
    how, others = own.parse_known_args(argv)
    args = train.parse(others, "core_1.py", __doc__ or "")
    if how.alone == (how.share is not None) or (how.share or 1.0) <= 0:
        own.error("give either --alone or --share X, more than 0")
    try:
        train_keras.run(args, core_1_network if how.alone else partial(supervise_core_1, core_1_loss=how.share))
    except (AudioFileError, SettingsError, WeightsFileError, OSError) as error:
        print(f"core_1.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
