"""Denoising and scoring of folders."""
