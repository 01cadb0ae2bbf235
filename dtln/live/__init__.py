"""Live denoising: sound devices, the audio callback and the session around it."""

from dtln.live.callback import FLAGS, LiveDenoiser, PassThrough
from dtln.live.devices import choose_device, import_sounddevice, open_devices
from dtln.live.session import noted_signals, play

__all__ = [
    "FLAGS",
    "LiveDenoiser",
    "PassThrough",
    "choose_device",
    "import_sounddevice",
    "noted_signals",
    "open_devices",
    "play",
]
