"""Block-by-block denoising with numpy and one runtime: TF-lite, ONNX Runtime or a SavedModel."""

from dtln.streaming.backends import Backend, find_tflite_runtime, open_backend
from dtln.streaming.engine import StreamingDenoiser, TimedDenoiser
from dtln.streaming.times import BlockTimes, TimeSummary, describe_times, time_summary

__all__ = [
    "Backend",
    "BlockTimes",
    "StreamingDenoiser",
    "TimeSummary",
    "TimedDenoiser",
    "describe_times",
    "find_tflite_runtime",
    "open_backend",
    "time_summary",
]
