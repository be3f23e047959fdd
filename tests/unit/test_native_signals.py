"""The native sampler and signals: its own, where it needs one, and those of the application."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
import time
from typing import Any

import pytest
from support.native import drained, middleware, native, native_host, needs_signal, request, spin

from rbkit_websocket.profilers.cpu.native import NativeSampler, default_signal

pytestmark = [native, pytest.mark.usefixtures("way")]


@needs_signal
def test_the_signal_is_given_back(sampler: NativeSampler) -> None:
    number = default_signal()
    sampler.start()
    spin(0.05)
    assert getattr(signal.getsignal(number), "__name__", "") == "rbkit_sampler"
    sampler.stop()
    assert signal.getsignal(number) == signal.SIG_DFL


@needs_signal
def test_a_server_thread_installs_and_gives_back_too(sampler: NativeSampler) -> None:
    def in_thread(function: object, *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments)  # type: ignore[arg-type]
        thread.start()
        thread.join()

    in_thread(sampler.start)
    while sampler._native.status()["answered"] < 50:
        spin(0.01)
    assert sampler._native.status()["attached"] is True
    in_thread(sampler.stop)
    spin(0.01)
    assert signal.getsignal(default_signal()) == signal.SIG_DFL


@needs_signal
@pytest.mark.timing
def test_a_signal_in_use_is_refused_and_left_alone(sampler: NativeSampler) -> None:
    number, got = default_signal(), []
    signal.signal(number, lambda *_: got.append(1))
    try:
        assert sampler.refusal == f"the signal is in use by the application ({number}; the option signal names another)"
        sampler.start()
        spin(0.5)
        assert sampler.effective_interval_usec == 5000
        sampler.stop()
        weights, counts = drained(sampler)
        assert weights["spin"] == pytest.approx(500_000, rel=0.15)
        assert counts["spin"] > 20
        assert not got
        assert signal.getsignal(number) not in (signal.SIG_DFL, None)
    finally:
        signal.signal(number, signal.SIG_DFL)
    assert sampler.refusal is None


@needs_signal
def test_a_signal_that_the_application_takes_later_is_its_own(sampler: NativeSampler) -> None:
    number = default_signal()
    sampler.start()
    spin(0.05)

    def theirs(*_: object) -> None:
        pass

    signal.signal(number, theirs)
    try:
        sampler.drain(None)
        assert sampler.refusal is not None
        asked = sampler._native.status()["asked"]
        spin(0.1)
        assert sampler._native.status()["asked"] <= asked + 1
        sampler.stop()
        assert signal.getsignal(number) is theirs
    finally:
        signal.signal(number, signal.SIG_DFL)


@needs_signal
def test_another_signal_can_be_chosen_or_none() -> None:
    with native_host() as host:
        number = signal.SIGRTMIN + 9
        chosen = NativeSampler(host, number)
        chosen.start()
        spin(0.05)
        assert getattr(signal.getsignal(number), "__name__", "") == "rbkit_sampler"
        chosen.stop()
        none = NativeSampler(host, 0)
        assert none.refusal == "no signal may be used"
        none.start()
        spin(0.2)
        none.stop()
        assert drained(none)[0]["spin"] > 0


@needs_signal
@pytest.mark.timing
def test_a_blocked_signal_only_costs_precision(sampler: NativeSampler) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {default_signal()})
    try:
        sampler.start()
        spin(0.5)
        sampler.stop()
    finally:
        # What is pending then must not end the process.
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert drained(sampler)[0]["spin"] == pytest.approx(500_000, rel=0.15)


def test_alarms_timers_and_handlers_of_the_application_go_on(sampler: NativeSampler) -> None:
    got: list[int] = []
    old = {number: signal.signal(number, lambda n, _f: got.append(n)) for number in (signal.SIGALRM, signal.SIGUSR1)}
    sampler.interval_usec = 100
    sampler.start()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        os.kill(os.getpid(), signal.SIGUSR1)
        while got.count(signal.SIGALRM) < 10:
            spin(0.05)
        signal.setitimer(signal.ITIMER_REAL, 0)
        began = time.monotonic()
        time.sleep(0.1)  # is not cut short
        assert time.monotonic() - began >= 0.1
        assert got.count(signal.SIGUSR1) == 1
        signal.alarm(1)
        signal.pause()
        assert got[-1] == signal.SIGALRM
    finally:
        sampler.stop()
        for number, handler in old.items():
            signal.signal(number, handler)


class Expired(Exception):
    """What the application's own signal handler raises."""


def test_what_a_signal_handler_raises_arrives_in_the_application(sampler: NativeSampler) -> None:
    """It may run in the midst of a look, which asks Python for the name of each request."""
    raised: list[int] = []
    caught: list[int] = []

    def expire(*_: object) -> None:
        raised.append(1)
        raise Expired

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        spin(0.0005)
        return []

    def serve() -> None:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.003)
            number = len(raised)
            while len(raised) == number:
                request(wrapped, "/")
        except Expired:
            caught.append(1)

    wrapped = middleware(application)
    # The end of an object that other tests left in a circle may call functions of weak sets, which swallow what the
    # handler raises.
    gc.collect()
    gc.disable()
    old = signal.signal(signal.SIGALRM, expire)
    sampler.interval_usec = 100
    sampler.start()
    try:
        while len(raised) < 100:
            try:
                serve()
            except Expired:
                caught.append(1)  # just as its own try ended
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sampler.stop()
        signal.signal(signal.SIGALRM, old)
        gc.enable()
    sampler.drain(None)
    assert len(caught) == len(raised)


def test_a_recursion_that_goes_too_deep_gets_its_own_error_only(sampler: NativeSampler) -> None:
    def deeper(number: int) -> int:
        return deeper(number + 1) + 1

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] != "/":
            with pytest.raises(RecursionError):
                deeper(0)
        return []

    wrapped = middleware(application)
    sampler.interval_usec = 100
    sampler.start()
    asked = sampler._native.status()["answered"]
    while sampler._native.status()["answered"] < asked + 100:
        request(wrapped, "/deep")
    sampler.stop()
    assert "GET /deep" in {name for _, name, *_ in sampler.drain(None).totals}


def test_a_question_that_comes_where_no_handler_can_be_called_is_put_again(sampler: NativeSampler) -> None:
    """At the limit of recursion Python calls no handler, and has then forgotten the signal."""

    def deeper() -> None:
        number = 1_000_000
        try:
            deeper()
        except RecursionError:
            while number:  # calls nothing: all that can be refused here is the handler
                number -= 1

    sampler.interval_usec = 1000
    sampler.start()
    try:
        deeper()
    except RecursionError:
        pass  # the handler's, which a frame further out may meet too
    answered = sampler._native.status()["answered"]
    while sampler._native.status()["answered"] < answered + 10:
        spin(0.01)
    sampler.stop()


def test_a_wakeup_descriptor_still_works(sampler: NativeSampler) -> None:
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    old = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    handler = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        sampler.start()
        spin(0.2)
        os.kill(os.getpid(), signal.SIGUSR1)
        spin(0.05)
        sampler.stop()
        told = reader.recv(100_000)
        assert signal.SIGUSR1 in told
        assert set(told) <= {signal.SIGUSR1, default_signal()}
    finally:
        signal.set_wakeup_fd(old)
        signal.signal(signal.SIGUSR1, handler)
        reader.close()
        writer.close()
