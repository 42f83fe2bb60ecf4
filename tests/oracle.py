"""ConDSeg's equations in plain float64 NumPy, one loop per symbol: slow, and meant to be obviously right.

Equation numbers are the paper's. Where the paper leaves a choice open, the choice is stated; it is the project's.
Masks are (B, 1, H, W) probabilities, labels (B, 1, H, W) in {0, 1}; every loss is computed per image (N = H * W)
and then averaged over the batch, so a value never depends on who shares the batch.
"""

from __future__ import annotations

import numpy as np


def bce(y, m):  # Eq. 2
    m = np.clip(m, 1e-12, 1 - 1e-12)
    return -(y * np.log(m) + (1 - y) * np.log(1 - m)).mean(axis=(1, 2, 3))


def dice(y, m, smooth=1e-5):  # Eq. 3; smooth (numerator and denominator) only decides 0/0
    inter, total = (m * y).sum(axis=(1, 2, 3)), m.sum(axis=(1, 2, 3)) + y.sum(axis=(1, 2, 3))
    return 1 - (2 * inter + smooth) / (total + smooth)


def mask_loss(y, m):  # Eq. 4
    return bce(y, m) + dice(y, m)


def consistency_loss(m1, m2, t=0.5):  # Eq. 5 and 6, with its factor 1/2
    b1, b2 = (m1 >= t).astype(np.float64), (m2 >= t).astype(np.float64)
    return 0.5 * (bce(b2, m1) + bce(b1, m2))


def stage1_loss(y, m1, m2, t=0.5):  # Eq. 7
    return (mask_loss(y, m1) + mask_loss(y, m2) + consistency_loss(m1, m2, t)).mean()


def beta(m, ceiling=100.0):  # Eq. 9, per image; bounded so that an empty prediction stays finite in half precision
    return np.minimum(1 / np.tanh(np.maximum(m.mean(axis=(1, 2, 3)), 1e-12)), ceiling)


def complementary_loss(region_probs):  # Eq. 10 on (B, 3, H, W) that sum to 1 over dim 1 (Eq. 8): softmax of the logits
    fg, bg, uc = region_probs[:, 0], region_probs[:, 1], region_probs[:, 2]
    return (fg * bg + fg * uc + bg * uc).mean(axis=(1, 2))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def stage2_loss(y, mask_logits, fg_logits, bg_logits, uc_logits, ceiling=100.0):  # Eq. 15
    m, fg, bg = sigmoid(mask_logits), sigmoid(fg_logits), sigmoid(bg_logits)
    compl = complementary_loss(softmax(np.concatenate([fg_logits, bg_logits, uc_logits], axis=1), axis=1))
    return (
        mask_loss(y, m) + beta(fg, ceiling) * mask_loss(y, fg) + beta(bg, ceiling) * mask_loss(1 - y, bg) + compl
    ).mean()


def cdfa(v, a_fg, a_bg, k=3, heads=1):
    """Eq. 11, 13 and 14: (B, C, H, W) values, (B, heads * k**4, H, W) attention logits per region -> (B, C, H, W).

    Channels are split into ``heads`` contiguous groups, each with its own k**2 x k**2 attention (the paper has one).
    Attention entry ``i * k**2 + j`` weighs window position j for output i; positions are row-major, top-left first.
    Values outside the image are zero, and what Eq. 14 would add outside the image is dropped.
    """
    b, c, h, w = v.shape
    r, d = k // 2, c // heads
    out = np.zeros((b, c, h, w))
    for n in range(b):
        for y in range(h):
            for x in range(w):
                window = np.zeros((k * k, c))  # Eq. 11
                for p in range(k):
                    for q in range(k):
                        yy, xx = y + p - r, x + q - r
                        if 0 <= yy < h and 0 <= xx < w:
                            window[p * k + q] = v[n, :, yy, xx]
                weighted = np.zeros_like(window)
                for g in range(heads):  # Eq. 13: background first, then foreground
                    s = slice(g * k**4, (g + 1) * k**4)
                    fg = softmax(a_fg[n, s, y, x].reshape(k * k, k * k), axis=1)
                    bg = softmax(a_bg[n, s, y, x].reshape(k * k, k * k), axis=1)
                    weighted[:, g * d : (g + 1) * d] = fg @ (bg @ window[:, g * d : (g + 1) * d])
                for p in range(k):  # Eq. 14
                    for q in range(k):
                        yy, xx = y + p - r, x + q - r
                        if 0 <= yy < h and 0 <= xx < w:
                            out[n, :, yy, xx] += weighted[p * k + q]
    return out
