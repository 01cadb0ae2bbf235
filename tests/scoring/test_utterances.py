"""dtln.scoring.utterances: against pesq's own C code, and at the ends of its room."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from dtln.audio.reading import read_audio
from dtln.errors import NotScorable
from dtln.scoring.metrics import pesq_lqo
from dtln.scoring.utterances import LONGEST, MOST_UTTERANCES, SURELY_FEW, count_utterances, require_room


def bursts(number: int, sound: float, pause: float, sample_rate: int = 16000) -> np.ndarray:
    """So many bursts of noise, seconds of sound before seconds of pause each."""
    noise = np.random.default_rng(0).normal(0, 0.1, round(sound * sample_rate))
    return np.tile(np.concatenate([noise, np.zeros(round(pause * sample_rate))]), number).astype(np.float32)


@pytest.mark.parametrize("band", ["nb", "wb"])
@pytest.mark.parametrize("number", [1, 20, 60])
def test_bursts_are_counted(band, number):
    assert count_utterances(bursts(number, 0.5, 0.5), band, 16000) == number
    assert count_utterances(bursts(number, 0.25, 0.1), band, 16000) == 1
    assert count_utterances(bursts(number, 0.1, 0.5), band, 16000) == 0  # too short to be one


def test_bursts_at_8_khz_are_counted():
    assert count_utterances(bursts(12, 0.5, 0.5, 8000), "nb", 8000) == 12


@pytest.mark.parametrize("signal", [np.zeros(500000), np.ones(500000), np.eye(1, 500000, 7)[0]])
def test_signals_without_speech(signal):
    assert count_utterances(signal, "nb", 16000) <= 1


def test_short_signals_hold_no_50_utterances():
    """So they need no count: the shortest utterances with the shortest pauses between them."""
    shortest = bursts(100, 0.192, 0.212)[: round(SURELY_FEW * 16000)]
    assert 40 < count_utterances(shortest, "wb", 16000) < 50


def test_room_of_pesq():
    pytest.importorskip("pesq")
    require_room(bursts(MOST_UTTERANCES, 0.5, 0.5), "nb", 16000)
    with pytest.raises(NotScorable, match="PESQ of about 45 utterances cannot be computed: .* room for 50"):
        require_room(bursts(MOST_UTTERANCES + 1, 0.5, 0.5), "nb", 16000)
    with pytest.raises(NotScorable, match="PESQ of 129 s cannot be computed: .* may hang beyond 128 s"):
        require_room(np.ones(129 * 16000, np.float32), "wb", 16000)
    clean = bursts(60, 0.3, 0.3)
    for band in ("nb", "wb"):
        with pytest.raises(NotScorable, match=r"about 60 utterances .* leave PESQ out \(--no-pesq\)"):
            pesq_lqo(clean, clean + 0.01, band)
    assert LONGEST == 128.0


class Signal(ctypes.Structure):
    """SIGNAL_INFO of pesq.h."""

    _fields_ = [
        *((name, ctypes.c_char * size) for name, size in (("path_name", 512), ("file_name", 128))),
        *((name, ctypes.c_long) for name in ("samples", "apply_swap", "input_filter")),
        *((name, ctypes.POINTER(ctypes.c_float)) for name in ("data", "activity", "log_activity")),
    ]


def utterances_of_pesq(clean: np.ndarray, library: ctypes.CDLL) -> int:
    """How many utterances the C code finds in narrow band; it writes them into a block of memory with room for all."""
    clean = np.ascontiguousarray(clean / np.max(np.abs(clean)), np.float32)
    flag, error, scratch = ctypes.c_long(0), ctypes.c_char_p(), ctypes.c_void_p()
    signal = Signal(samples=len(clean), input_filter=1, data=clean.ctypes.data_as(ctypes.POINTER(ctypes.c_float)))
    reference, result = ctypes.byref(signal), ctypes.create_string_buffer(1 << 16)
    curve = (ctypes.c_double * 52).in_dll(library, "standard_IRS_filter_dB")
    library.select_rate(ctypes.c_long(16000), ctypes.byref(flag), ctypes.byref(error))
    library.load_src(ctypes.byref(flag), ctypes.byref(error), reference)  # data is a copy from here on
    library.alloc_other(reference, reference, ctypes.byref(flag), ctypes.byref(error), ctypes.byref(scratch))
    library.fix_power_level(reference, b"", ctypes.c_long(signal.samples))
    library.apply_filter(signal.data, ctypes.c_long(signal.samples), 26, curve)
    library.DC_block(signal.data, ctypes.c_long(signal.samples))
    library.apply_filters(signal.data, ctypes.c_long(signal.samples))
    library.calc_VAD(reference)
    found = library.id_searchwindows(reference, reference, result)
    for memory in (signal.data, signal.activity, signal.log_activity, scratch):
        library.safe_free(memory)
    assert flag.value == 0
    return found


def test_count_is_near_that_of_pesq(shared):
    cypesq = pytest.importorskip("pesq.cypesq")
    library = ctypes.CDLL(cypesq.__file__)
    files = sorted((shared / "eval" / "clean").iterdir())
    assert utterances_of_pesq(bursts(60, 0.5, 0.5), library) == 60
    for first in (0, 5, 10, 15):
        speech = np.concatenate([read_audio(file, mono=True)[0] for file in files[first : first + 5]])
        counted, true = count_utterances(speech, "nb", 16000), utterances_of_pesq(speech, library)
        assert 10 < true < 60 and abs(counted - true) <= 3
