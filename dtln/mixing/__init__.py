"""Mixing of speech and noise into training segments."""
