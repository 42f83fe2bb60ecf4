"""Operations with an algorithm of their own, each with the plain composition it equals."""

from condseg_monai.networks.ops.local_attention import compose_attention, plain_window_attention, window_attention

__all__ = ["compose_attention", "plain_window_attention", "window_attention"]
