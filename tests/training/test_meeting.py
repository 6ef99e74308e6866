"""Workers find each other, and what differs between them, before they train."""

import concurrent.futures
import json
import re
import socket
import time

import pytest

from kerapose.training import meeting


def meet_all(hosts, told, indices=None, patience_s=5.0):
    """What each of several workers, in threads, gets out of a meeting: None or its error."""

    def one(index, says):
        try:
            return meeting.meet(hosts, index, says, patience_s)
        except Exception as error:
            return error

    indices = range(len(told)) if indices is None else indices
    with concurrent.futures.ThreadPoolExecutor(len(told)) as pool:
        return list(pool.map(one, indices, told))


def sentences(errors, kind):
    assert all(type(error) is kind for error in errors), errors
    return {str(error) for error in errors}


def test_those_who_say_the_same_go_on(free_hosts):
    said = {"epochs": 3, "pairs": ("a", "b")}  # which JSON has no tuples for
    assert meet_all(free_hosts(3), [said] * 3) == [None] * 3


def test_the_first_difference_is_told_to_all(free_hosts):
    errors = meet_all(free_hosts(3), [{"epochs": 3, "seed": 0}, {"epochs": 3, "seed": 0}, {"epochs": 4, "seed": 1}])
    assert sentences(errors, ValueError) == {
        "All workers must have the same epochs, got 3 on worker 0 and 4 on worker 2; make them alike."
    }


def test_an_option_that_one_does_not_have_differs(free_hosts):
    errors = meet_all(free_hosts(2), [{}, {"new": 1}])
    assert sentences(errors, ValueError) == {
        "All workers must have the same new, got None on worker 0 and 1 on worker 1; make them alike."
    }


def test_other_workers_differ(free_hosts):
    first, second, third = free_hosts(3)

    def one(hosts, index):
        with pytest.raises(ValueError, match="must have the same workers") as error:
            meeting.meet(hosts, index, {}, 5)
        return str(error.value)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        said = {
            future.result() for future in (pool.submit(one, [first, second], 0), pool.submit(one, [first, third], 1))
        }
    assert len(said) == 1


def test_two_cannot_have_one_place(free_hosts):
    hosts = free_hosts(3)
    errors = [error for error in meet_all(hosts, [{}] * 3, indices=(0, 1, 1), patience_s=2) if error]
    assert any(re.search("index of its own, got two with 1|port of worker 1", str(error)) for error in errors)


def test_one_that_was_started_again_takes_its_place(free_hosts):
    hosts = free_hosts(3)
    host, port = hosts[0].split(":")
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        first = pool.submit(meeting.meet, hosts, 0, {}, 10)
        with socket.socket() as ended:
            while ended.connect_ex((host, int(port))):
                time.sleep(0.05)
            text = json.dumps([1, {"workers": hosts}]).encode()
            ended.sendall(len(text).to_bytes(4, "big") + text)
        others = [pool.submit(meeting.meet, hosts, index, {}, 10) for index in (1, 2)]
        assert [each.result() for each in (first, *others)] == [None] * 3


def test_who_knocks_at_ports_does_no_harm(free_hosts):
    hosts = free_hosts(2)
    host, port = hosts[0].split(":")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(meeting.meet, hosts, 0, {}, 10)
        for text in (b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\2{}", b"\0\0\0\4abcd", b""):
            with socket.socket() as stranger:
                while stranger.connect_ex((host, int(port))):
                    time.sleep(0.05)
                stranger.sendall(text)
        second = pool.submit(meeting.meet, hosts, 1, {}, 10)
        assert first.result() is None and second.result() is None


def test_a_port_that_is_taken_is_told(free_hosts):
    (host,) = free_hosts(1)
    rule = f"The port of worker 0, {host}, must be free, got: Address already in use; end what has it, or give another"
    with socket.create_server(("", int(host.split(":")[1]))), pytest.raises(OSError, match=rule):
        meeting.meet([host], 0, {}, 1)


def test_those_who_do_not_come_are_named(free_hosts):
    hosts = free_hosts(3)
    errors = meet_all(hosts, [{}, {}], patience_s=1.0)
    assert sentences(errors, TimeoutError) == {
        f"All 3 workers must come within 1 s, got none from 2 ({hosts[2]}); start the same command there, and see "
        "whether its host and port can be reached."
    }


def test_a_first_worker_that_does_not_come_is_told(free_hosts):
    hosts = free_hosts(2)
    with pytest.raises(TimeoutError, match=rf"The first worker, {hosts[0]}, must come within 1 s, got: .*refused"):
        meeting.meet(hosts, 1, {}, 1)
    with pytest.raises(TimeoutError, match="The first worker, no.such.host.invalid:1, must come within 1 s"):
        meeting.meet(["no.such.host.invalid:1", hosts[1]], 1, {}, 1)


# ---------------------------------------- who they are
def test_addresses_are_those_of_the_options(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    hosts, index, config = meeting.addresses(["a:1", "b:2"], 1)
    assert (hosts, index) == (["a:1", "b:2"], 1)
    assert config == {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}


@pytest.mark.parametrize("kind, place, expected", [("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)])
def test_addresses_are_those_of_the_environment(monkeypatch, kind, place, expected):
    told = {"cluster": {"chief": ["a:1"], "worker": ["b:2", "c:3"]}, "task": {"type": kind, "index": place}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(told))
    assert meeting.addresses(None, None) == (["a:1", "b:2", "c:3"], expected, told)
    assert meeting.addresses(["a:1", "b:2", "c:3"], expected)[:2] == (["a:1", "b:2", "c:3"], expected)  # said twice
    with pytest.raises(ValueError, match="The workers are given once, got worker_hosts and another TF_CONFIG"):
        meeting.addresses(["a:1", "b:2"], 0)


@pytest.mark.parametrize(
    "hosts, index, told, rule",
    [
        (None, None, None, "needs to know the workers, got neither worker_hosts nor TF_CONFIG; give"),
        (["a:1"], None, None, "go together, got worker_hosts alone"),
        (None, 0, None, "go together, got worker_index alone"),
        (["a:1", "b"], 0, None, "HOST:PORT, got 'b'; correct it"),
        (["a:1", "b:0"], 0, None, "HOST:PORT, got 'b:0'"),
        (["a:1", "b:x"], 0, None, "HOST:PORT, got 'b:x'"),
        (["a:1", "a:1"], 0, None, "an address of its own, got a:1, a:1"),
        (["a:1", "b:1"], 2, None, "worker_index is from 0 to 1 for 2 workers, got 2"),
        (None, None, "workers", "TF_CONFIG is JSON like .*got 'workers'; correct it"),
        (None, None, '{"cluster": {}}', "TF_CONFIG is JSON like"),
        (
            None,
            None,
            '{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
            "got the task 'ps' in TF_CONFIG",
        ),
    ],
)
def test_wrong_addresses_are_refused(monkeypatch, hosts, index, told, rule):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if told is not None:
        monkeypatch.setenv("TF_CONFIG", told)
    with pytest.raises(ValueError, match=rule):
        meeting.addresses(hosts, index)
