"""Block-by-block denoising with numpy and one runtime: TF-lite, ONNX Runtime or a SavedModel."""

from dtln.streaming.backends import Backend, find_tflite_runtime, open_backend
from dtln.streaming.block import BlockDenoiser
from dtln.streaming.engine import Latency, StreamingDenoiser, TimedDenoiser
from dtln.streaming.times import BlockTimes, TimeSummary, describe_times, time_summary

__all__ = [
    "Backend",
    "BlockDenoiser",
    "BlockTimes",
    "Latency",
    "StreamingDenoiser",
    "TimeSummary",
    "TimedDenoiser",
    "describe_times",
    "find_tflite_runtime",
    "open_backend",
    "time_summary",
]
