"""Sound from what a voice's network says of every 12.5 ms: harmonics of a pitch, noise, and a rest with phases of its own."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

RATE: Final = 24_000
_HOP, _SIZE = 300, 1200  # samples from frame to frame, and in a frame
_WINDOW: Final = (0.5 * (1 - np.cos(2 * np.pi * np.arange(_SIZE) / _SIZE))).astype(np.float32)
_VOICED = 40.0  # Hz of pitch below which there is none
_HIGHEST = 11_000.0  # Hz of the highest harmonic
_LOUDEST = 7.0  # of a logarithm of magnitude

Numbers = NDArray[np.float32]


def waveform(
    harmonic: Numbers, turned: Numbers, noise: Numbers, rest: Numbers, phase: Numbers, pitch: Numbers, seed: int = 0
) -> Numbers:
    """Sound (frames * 300,) at 24 kHz, about from -1 to 1.

    Args:
        harmonic, noise, rest: (601, frames) logarithms of magnitudes.
        turned, phase: (601, frames), by how much the harmonics are turned (as its inverse hyperbolic tangent, in half turns),
            and the phases of the rest in radians.
        pitch: (frames,) Hz.
        seed: of the noise; the same one gives the same sound.
    """
    frames = len(pitch)
    spectrum = _spectrum(_pulses(pitch))[:, :frames] * _magnitude(harmonic) * np.exp(1j * np.pi * np.tanh(turned))
    drawn = np.random.default_rng(seed).standard_normal((2, *noise.shape), np.float32)
    spectrum += _magnitude(noise) * (drawn[0] + 1j * drawn[1])
    spectrum += _magnitude(rest) * np.exp(1j * phase)
    return _sound(spectrum.astype(np.complex64))


def _magnitude(logarithm: Numbers) -> Numbers:
    found: Numbers = np.exp(np.minimum(logarithm, _LOUDEST))
    return found


def _pulses(pitch: Numbers) -> Numbers:
    """All harmonics of the pitch up to 11 kHz at the same strength: the sum of cos(h x) for h from 1 to n is
    sin((n + 1/2) x) / (2 sin(x / 2)) - 1/2."""
    middles = (np.arange(len(pitch)) + 0.5) * _HOP
    hertz = np.interp(np.arange(len(pitch) * _HOP) + 0.5, middles, pitch)
    voiced, hertz = hertz > _VOICED, np.maximum(hertz, _VOICED)
    angle = 2 * np.pi * np.mod(np.cumsum(hertz / RATE), 1.0)
    count = np.floor(_HIGHEST / hertz)
    below = 2 * np.sin(angle / 2)
    near = np.abs(below) < 2e-3  # where both are close to nothing, the sum is the number of harmonics
    total = np.where(near, count, np.sin((count + 0.5) * angle) / np.where(near, 1.0, below) - 0.5)
    return np.where(voiced, total, 0.0).astype(np.float32)


def _spectrum(sound: Numbers) -> NDArray[np.complex64]:
    """(601, frames and one) of frames centred at every hop, so that a cosine of strength 1 has magnitude 1 at its peak."""
    padded = np.pad(sound, _SIZE // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _SIZE)[::_HOP]
    return np.fft.rfft(frames * (_WINDOW / (_SIZE / 4)), axis=1).T.astype(np.complex64)


def _sound(spectrum: NDArray[np.complex64]) -> Numbers:
    """The sound whose windowed frames, overlapping, have these spectra."""
    count = spectrum.shape[1]
    frames = np.fft.irfft(spectrum.T, _SIZE, axis=1) * _WINDOW
    total, weight = np.zeros((2, count + 3, _HOP))
    for quarter in range(4):
        part = slice(quarter * _HOP, (quarter + 1) * _HOP)
        total[quarter : quarter + count] += frames[:, part]
        weight[quarter : quarter + count] += _WINDOW[part] ** 2
    sound = (total / np.maximum(weight, 1e-8)).ravel()
    return sound[_SIZE // 2 : _SIZE // 2 + count * _HOP].astype(np.float32)
