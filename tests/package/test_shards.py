"""dtln.shards: every name in one shard, the same one on every machine, and shards of like size."""

from __future__ import annotations

import random

import pytest

from dtln.shards import Shard


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "1/2/3", "-1/3", "a/b", "1.0/2", ""])
def test_texts_that_name_no_shard(text):
    with pytest.raises(ValueError, match="expected I/N"):
        Shard.parse(text)


def test_text_of_a_shard():
    assert Shard.parse("3/8") == Shard(3, 8) and str(Shard(3, 8)) == "3/8"


@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_shards_are_apart_together_whole_and_alike(count):
    rng = random.Random(1)
    sizes = {f"{index}.wav": rng.paretovariate(1.5) for index in range(200)}
    shuffled = dict(rng.sample(list(sizes.items()), len(sizes)))
    shards = [Shard(number, count).of(sizes) for number in range(1, count + 1)]
    assert shards == [Shard(number, count).of(shuffled) for number in range(1, count + 1)]
    assert sorted(name for shard in shards for name in shard) == sorted(sizes)
    loads = [sum(sizes[name] for name in shard) for shard in shards]
    assert max(loads) - min(loads) <= max(sizes.values())
    if count <= 7:
        assert max(loads) - min(loads) <= 0.02 * sum(sizes.values()) / count


def test_equal_sizes_go_round_in_the_order_of_names():
    sizes = dict.fromkeys("fbdace", 3.0)
    assert [Shard(number, 3).of(sizes) for number in (1, 2, 3)] == [{"a", "d"}, {"b", "e"}, {"c", "f"}]


@pytest.mark.parametrize(("total", "count"), [(10, 3), (3, 10), (0, 2), (10, 1), (1000, 7)])
def test_ranges_follow_each_other(total, count):
    ranges = [Shard(number, count).range(total) for number in range(1, count + 1)]
    assert [number for part in ranges for number in part] == list(range(total))
    assert max(map(len, ranges)) - min(map(len, ranges)) <= 1
