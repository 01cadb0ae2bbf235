"""dtln.live.session: signals, and devices that refuse, fall silent, vanish and come back."""

from __future__ import annotations

import json
import signal
import threading
import time

import numpy as np
import pytest
from simulated_devices import PassingNetwork

from dtln.commands.live import main
from dtln.live import session
from dtln.live.keys import Keys
from dtln.live.session import noted_signals
from dtln.streaming import backends

pytestmark = pytest.mark.alone


def test_signal_is_noted_once_and_the_second_is_hard():
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits SIG_IGN
    try:
        with noted_signals() as noted:
            signal.raise_signal(signal.SIGINT)
            assert noted == [signal.SIGINT]
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, inherited)


def after(seconds: float, action) -> threading.Timer:
    timer = threading.Timer(seconds, action)
    timer.start()
    return timer


def test_sound_goes_from_one_device_to_the_other(fake, capsys):
    assert main(["--duration", "1.5", "-i", "2", "-o", "1"]) == 0
    assert fake.opened == [("input", 2, 16000, 1), ("output", 1, 16000, 1)]
    played = np.concatenate(fake.outputs)[:, 0]
    assert not played[: round(0.3 * 16000)].any()  # while the delay is being settled
    np.testing.assert_array_equal(played[-4000:], 0.5)
    out = capsys.readouterr().out
    assert "running: 32 ms of the network, 100 ms of the input device" in out
    assert "input overflows: 0, input underflows: 0" in out and "ms per block: mean" in out


def test_devices_with_other_rates_and_channels(fake, capsys):
    fake.takes = lambda index, kind, rate, channels: rate == (44100 if kind == "input" else 48000) and channels == 2
    for device in fake.devices:
        device["max_input_channels"] = 2
    assert main(["--duration", "1.5", "-i", "2", "-o", "1", "--input-channel", "2"]) == 0
    assert fake.opened == [("input", 2, 44100, 2), ("output", 1, 48000, 2)]
    assert np.abs(np.concatenate(fake.outputs)[-4000:] - 0.5).max() < 1e-3


def test_json_record_and_quiet(fake, tmp_path, capsys):
    flags = ["--duration", "2.2", "--quiet", "--json", str(tmp_path / "live.json"), "--record", str(tmp_path / "take")]
    assert main(flags) == 0
    assert capsys.readouterr().out == ""
    report = json.loads((tmp_path / "live.json").read_text())
    assert report["input_rate"] == 16000 and len(report["series"]["seconds"]) == 2
    assert report["blocks"] == pytest.approx(2.2 * 125, abs=15)
    assert report["input_db"] == pytest.approx(-6.0, abs=0.1)
    assert (report["settings"]["input_device"], report["settings"]["strength"]) == ("0 USB, MME", 1.0)
    assert {path.name for path in tmp_path.glob("*.wav")} == {"take_input.wav", "take_output.wav"}


def test_folder_of_the_report_is_missed_before_the_session(fake, tmp_path, capsys):
    assert main(["--duration", "9", "--json", str(tmp_path / "none" / "live.json")]) == 1
    assert "its folder does not exist" in capsys.readouterr().err and not fake.opened


def test_closed_standard_output(fake, monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    assert main(["--duration", "0.2"]) == 0


def test_loop_from_the_output_into_the_input_is_measured(fake, monkeypatch, capsys):
    sound: list[np.ndarray] = []
    feed = type(fake).InputStream

    def looped(self, callback, **settings):
        def hear(data, frames, times, status):
            if len(fake.outputs) >= len(sound) + 5:  # about 50 ms later
                data[:] = fake.outputs[len(sound)]
                sound.append(data)
            callback(data, frames, times, status)

        return feed(self, callback=hear, **settings)

    monkeypatch.setattr(type(fake), "InputStream", looped)
    assert main(["--measure", "1"]) == 0
    text = capsys.readouterr().out
    measured = float(text.split(" ms from loudspeaker to microphone, measured")[0].split()[-1])
    assert measured == pytest.approx(50, abs=30)


def test_without_a_loop_it_says_so(fake, capsys):
    assert main(["--measure", "0.6"]) == 0
    assert "no way from the output back into the input was found" in capsys.readouterr().out


def test_microphone_that_refuses_everything(fake, capsys):
    fake.refused = True
    assert main([]) == 1
    captured = capsys.readouterr()
    assert "input device 0 (USB" in captured.err
    assert not captured.out  # no report of what never began


def test_devices_that_cannot_be_opened(fake, capsys):
    fake.unopenable = True
    assert main([]) == 1
    assert "cannot be opened: Device unavailable" in capsys.readouterr().err


@pytest.mark.parametrize("active", [True, False])
def test_devices_that_fall_silent(fake, monkeypatch, capsys, active):
    fake.feeding, fake.active = False, active
    monkeypatch.setattr(session, "STALL_SECONDS", 0.4)
    monkeypatch.setattr(session, "EARLY_SECONDS", 0.3)
    assert main(["--latency", "0.01"]) == 1
    captured = capsys.readouterr()
    expected = "device has not moved for" if active else "stopped delivering sound"
    assert expected in captured.err and "--reconnect waits for them" in captured.err
    assert "no blocks" in captured.out
    assert len(fake.opened) == (2 if active else 2 * (1 + session.EARLY_STARTS))


def test_output_that_runs_away_is_opened_again(fake, monkeypatch, capsys):
    fake.pace = 3.0
    timer = after(1.5, lambda: setattr(fake, "pace", 1.0))
    assert main(["--duration", "4", "--latency", "0.1"]) == 0
    timer.join()
    assert len(fake.opened) == 4
    assert capsys.readouterr().out.count("running: ") == 2


def test_a_program_that_was_stopped_goes_on(fake, monkeypatch, capsys):
    monkeypatch.setattr(session, "STALL_SECONDS", 0.4)
    monkeypatch.setattr(session, "EARLY_SECONDS", 0.3)
    monkeypatch.setattr(session, "STOPPED_SECONDS", 0.3)
    begun = time.monotonic()

    def stop(keys):
        """Holds up the main thread for a while, and the devices from a moment before that."""
        if time.monotonic() - begun > 0.8:
            if fake.feeding:
                fake.feeding = False
            else:
                time.sleep(0.6)
                fake.feeding = True
                monkeypatch.setattr(Keys, "read", lambda keys: None)

    monkeypatch.setattr(Keys, "read", stop)
    assert main(["--duration", "2.5"]) == 0
    assert capsys.readouterr().out.count("running: ") == 1


def test_output_that_runs_away_later_is_opened_again(fake, monkeypatch, capsys):
    monkeypatch.setattr(session, "EARLY_SECONDS", 0.8)
    monkeypatch.setattr(session, "RETRY_SECONDS", 0.1)

    def run_away(keys):
        """The output is fast after its first second, until the devices are opened again."""
        fake.pace = 3.0 if len(fake.outputs) > 100 and len(fake.opened) == 2 else 1.0

    monkeypatch.setattr(Keys, "read", run_away)
    assert main(["--duration", "4", "--latency", "0.1"]) == 0
    out = capsys.readouterr().out
    assert "faster than its rate. Trying to open the devices again" in out and "reconnections: 1" in out


def test_devices_that_are_lost_and_found(fake, monkeypatch, capsys):
    monkeypatch.setattr(session, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(session, "EARLY_SECONDS", 0.5)
    gone, back = after(1.2, lambda: fake.devices.clear()), after(2.2, lambda: fake.devices.extend(devices))
    devices = [*fake.devices]
    end, dead = after(1.2, lambda: setattr(fake, "active", False)), after(2.2, lambda: setattr(fake, "active", True))
    assert main(["--duration", "3.5", "--reconnect"]) == 0
    for timer in (gone, back, end, dead):
        timer.join()
    out = capsys.readouterr().out
    assert out.count("stopped delivering sound. Trying to open the devices again") == 1
    assert out.count("Waiting for the devices") == 1
    assert out.count("running: ") == 2 and "reconnections: 1" in out
    assert fake.restarts > 1
    np.testing.assert_array_equal(np.concatenate(fake.outputs)[-4000:], 0.5)


def test_a_session_may_begin_before_the_devices_are_there(fake, monkeypatch, capsys):
    monkeypatch.setattr(session, "RETRY_SECONDS", 0.1)
    devices = [*fake.devices]
    fake.devices.clear()
    timer = after(0.8, lambda: fake.devices.extend(devices))
    assert main(["--duration", "1", "--reconnect"]) == 0
    timer.join()
    assert "running: " in capsys.readouterr().out


def test_a_call_that_hangs_does_not_keep_the_session(fake, monkeypatch, capsys):
    monkeypatch.setattr(session, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(type(fake), "OutputStream", lambda *_, **__: time.sleep(20))
    begun = time.monotonic()
    assert main([]) == 1
    assert time.monotonic() - begun < 10
    assert "has not answered" in capsys.readouterr().err


def test_a_server_that_dies_early_and_hangs_is_told(fake, monkeypatch, capsys):
    """Opening again is not tried then; the message says what to do all the same."""
    fake.active = False
    monkeypatch.setattr(session, "hanging_seconds", lambda: 2.04 if fake.opened else 0.0)
    assert main(["--no-reconnect"]) == 1
    message = "the sound system has not answered for 2 s. Restart the sound server"
    assert message in capsys.readouterr().err and len(fake.opened) == 2


def test_status_flags_are_counted(fake, capsys):
    fake.status.input_overflow = True
    assert main(["--duration", "1.5"]) == 0
    text = capsys.readouterr().out.split("input overflows: ")[1]
    assert 100 < int(text.split(",")[0]) < 260  # both streams raise it


def test_error_of_the_network_gives_silence_and_exit_status(fake, monkeypatch, capsys):
    class Failing(PassingNetwork):
        calls = 0

        def run(self, block, states):
            self.calls += 1
            if self.calls == 150:
                raise RuntimeError("broken on purpose")
            return super().run(block, states)

    monkeypatch.setattr(backends, "open_backend", lambda *_: Failing())
    assert main([]) == 1
    captured = capsys.readouterr()
    assert "RuntimeError: broken on purpose" in captured.err and "could not be denoised" in captured.err
    assert captured.out.count("ms per block") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--latency", "9999"], "expected seconds above 0 and up to 2, low or high, found '9999'"),
        (["--input-channel", "0"], "expected a channel from 1, or mix"),
        (["--strength", "2"], "2: expected a number from 0 to 1"),
    ],
)
def test_flags_out_of_bounds(flags, message, capsys):
    with pytest.raises(SystemExit):
        main(flags)
    assert message in capsys.readouterr().err
