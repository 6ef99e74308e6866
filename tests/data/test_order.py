"""The order of a training's samples: each pass whole, none like another, and the same wherever a run begins."""

import threading
import time

import pytest
import tensorflow as tf
from tensorflow.python.framework import config as tensorflow_config

from kerapose.data import order


def numbers(dataset, count):
    return [int(number) for number in dataset.take(count)]


@pytest.mark.parametrize("buffer_size", [None, 3])
def test_every_pass_has_every_element_once_in_another_order(buffer_size):
    found = numbers(order.shuffled_endlessly(tf.data.Dataset.range(50), 0, buffer_size=buffer_size), 150)
    passes = [found[start : start + 50] for start in (0, 50, 100)]
    assert all(sorted(one) == list(range(50)) for one in passes)
    assert passes[0] != passes[1] != passes[2] != passes[0] and passes[0] != list(range(50))


def test_a_small_buffer_keeps_elements_near_their_places():
    found = numbers(order.shuffled_endlessly(tf.data.Dataset.range(50), 0, buffer_size=3), 50)
    assert all(number <= place + 2 for place, number in enumerate(found))


@pytest.mark.parametrize("first", [1, 7, 8, 19])
def test_it_goes_on_from_anywhere_as_it_would_have(first):
    dataset = tf.data.Dataset.range(8)
    whole = numbers(order.shuffled_endlessly(dataset, 3), 40)
    assert numbers(order.shuffled_endlessly(dataset, 3, first), 40 - first) == whole[first:]


@pytest.mark.parametrize("buffer_size", [None, 3])
def test_whole_passes_are_not_read_again(buffer_size):
    read = []

    def note(number):
        read.append(int(number))
        return number

    dataset = tf.data.Dataset.range(5).map(lambda number: tf.py_function(note, [number], tf.int64))
    numbers(order.shuffled_endlessly(dataset, 0, first=500, buffer_size=buffer_size), 5)
    assert len(read) <= 15


def test_it_depends_on_the_seed_and_neither_on_the_global_one_nor_on_who_looked_before():
    dataset = tf.data.Dataset.range(30)
    one = order.shuffled_endlessly(dataset, 0)
    first = numbers(one, 60)
    assert numbers(one, 60) == first
    tf.random.set_seed(123)
    assert numbers(order.shuffled_endlessly(dataset, 0), 60) == first
    assert numbers(order.shuffled_endlessly(dataset, 1), 60) != first


def test_elements_of_any_structure_pass_through():
    arrays = {"a": [[1, 2], [3, 4]], "b": (["x", "y"], [0.5, 1.5])}
    dataset = tf.data.Dataset.from_tensor_slices(arrays)
    shuffled = order.shuffled_endlessly(dataset, 0)
    assert shuffled.element_spec == dataset.element_spec
    for element in shuffled.take(4):
        place = [1, 3].index(int(element["a"][0]))
        assert element["b"][0] == ["x", "y"][place] and float(element["b"][1]) == [0.5, 1.5][place]


@pytest.fixture
def deterministic():
    tf.config.experimental.enable_op_determinism()
    yield
    tensorflow_config.disable_op_determinism()  # TensorFlow has no public way back


@pytest.mark.usefixtures("deterministic")
def test_what_follows_works_side_by_side_even_where_operations_are_deterministic():
    lock, now, most = threading.Lock(), 0, 0  # how many elements are worked on at the same time, at most

    def work(number):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return number

    def mapped(number):
        return tf.numpy_function(work, [number], tf.int64, stateful=False)

    dataset = order.shuffled_endlessly(tf.data.Dataset.range(10), seed=0).map(mapped, num_parallel_calls=4).take(20)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 4
    assert len(list(dataset.with_options(options))) == 20
    assert most > 1


def test_unknown_lengths_need_a_buffer_and_pass_whole():
    dataset = tf.data.Dataset.range(10).filter(lambda number: number % 2 == 0)
    with pytest.raises(ValueError, match="unknown length is shuffled in a buffer, got no buffer_size"):
        order.shuffled_endlessly(dataset, 0)
    whole = numbers(order.shuffled_endlessly(dataset, 0, buffer_size=5), 20)
    assert sorted(whole[:5]) == [0, 2, 4, 6, 8]
    assert numbers(order.shuffled_endlessly(dataset, 0, 7, buffer_size=5), 13) == whole[7:]


def test_nothing_cannot_be_shuffled():
    with pytest.raises(ValueError, match="at least one clip, got none"):
        order.shuffled_endlessly(tf.data.Dataset.range(0), 0)
