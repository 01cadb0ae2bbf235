"""What goes wrong because of what a user gave: every message names the file, what was found and what to do."""

from __future__ import annotations


class AudioFileError(ValueError):
    """A recording that cannot be used; the message names the file, what was found and what to do."""


class WeightsFileError(ValueError):
    """A weights file that does not hold this network; the message says what it holds and what was expected."""


class ModelError(ValueError):
    """An exported model that cannot be used; the message names the file, what was found and what to do."""


class MissingRuntimeError(ImportError):
    """No runtime for a kind of model is installed; the message says what to install."""


class AudioDeviceError(RuntimeError):
    """A sound device that cannot be used; the message says which, why and what to do."""


class NotScorable(ValueError):
    """A signal for which a metric is not defined: silent, or too short."""


class SettingsError(ValueError):
    """Settings that do not fit; the message names them."""
