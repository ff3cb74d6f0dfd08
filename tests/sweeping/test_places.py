"""GPUs and cores of jobs that run at the same time."""

from deeplab.sweeping.places import Places


def test_jobs_get_gpus_of_their_own_as_long_as_there_are_enough() -> None:
    places = Places(2, ["4", "7"], cores=[0, 1, 2, 3])
    first, second = places.take(1), places.take(1)
    assert first is not None and second is not None
    assert (first.gpus, second.gpus) == (("4",), ("7",))
    assert (set(first.cores), set(second.cores)) == ({0, 1}, {2, 3})
    assert places.take(1) is None
    places.give_back(first)
    third = places.take(1)
    assert third is not None and third.gpus == ("4",)
    assert places.sharing() is None


def test_a_job_of_two_gpus_waits_until_both_are_free() -> None:
    places = Places(2, ["0", "1"], cores=[0, 1])
    single = places.take(1)
    assert single is not None
    assert places.take(2) is None
    places.give_back(single)
    double = places.take(2)
    assert double is not None and double.gpus == ("0", "1")
    assert places.take(1) is None


def test_more_jobs_than_gpus_share_them_evenly_and_it_is_said() -> None:
    places = Places(5, ["0", "1"], cores=[0])
    taken = [places.take(1) for _ in range(5)]
    assert [place and place.gpus for place in taken] == [("0",), ("1",), ("0",), ("1",), ("0",)]
    assert places.sharing() == "5 jobs at a time on 2 GPUs: they share them."
    assert {core for place in taken if place for core in place.cores} == {0}


def test_every_core_has_one_job_where_there_are_enough() -> None:
    places = Places(3, [], cores=list(range(16)))
    shares = [place.cores for _ in range(3) if (place := places.take(None))]
    assert sorted(core for share in shares for core in share) == list(range(16))
    assert sorted(map(len, shares)) == [5, 5, 6]


def test_jobs_on_the_cpu_get_no_gpu() -> None:
    place = Places(1, ["0"], cores=[0]).take(None)
    assert place is not None and place.gpus is None
