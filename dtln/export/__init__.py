"""Exports of the network, a module for each format, and the check that each has to pass.

`dtln.formats.EXPORT_KINDS` names the exporters. Each takes the network and the paths of its files.
"""
