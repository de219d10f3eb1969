"""Signals are noted, the second Ctrl-C is at once, and the handlers that were are put back."""

import os
import signal
import threading

import pytest

from hornbook.training.preemption import Preemption

POSIX = pytest.mark.skipif(os.name == "nt", reason="os.kill delivers no signals on Windows")


@POSIX
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_the_first_signal_is_noted(name: str) -> None:
    number = signal.Signals[name]
    before = signal.getsignal(number)
    with Preemption() as preemption:
        assert preemption.requested is None
        os.kill(os.getpid(), number)
        assert preemption.requested is number
    assert signal.getsignal(number) is before


@POSIX
def test_the_second_interrupt_is_at_once() -> None:
    with Preemption() as preemption:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert preemption.requested is signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@POSIX
def test_what_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Preemption() as preemption:
            os.kill(os.getpid(), signal.SIGINT)
            assert preemption.requested is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@POSIX
def test_handlers_are_put_back_after_an_error() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with pytest.raises(RuntimeError, match="inside"), Preemption():
        raise RuntimeError("inside")
    assert {number: signal.getsignal(number) for number in before} == before


def test_outside_the_main_thread_it_is_harmless() -> None:
    noted: list[Preemption] = []

    def work() -> None:
        with Preemption() as preemption:
            noted.append(preemption)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert noted[0].requested is None
