"""What training needs beside the loop: files with settings, several processes and devices, TensorBoard."""

from dtln.training.processes import run_processes
from dtln.training.run_config import find_config, read_run_config, write_run_config

__all__ = ["find_config", "read_run_config", "run_processes", "write_run_config"]
