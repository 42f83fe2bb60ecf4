"""Losses on logits: a mask of one channel is binary, of several one class each.

Each of the paper's equations is a function in the module of its name; ``losses.released`` has the released code's.
"""
