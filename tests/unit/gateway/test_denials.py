from pilotage.gateway.denials import Denials

MINUTE = 60_000_000


def test_a_flood_makes_one_event_a_minute_source_and_code():
    denials = Denials()
    for second in range(120):
        for _ in range(10):
            denials.count("10.0.0.1", "unauthenticated", second * 1_000_000)
        denials.count("10.0.0.2", "forbidden", second * 1_000_000)
    found = list(denials.due(2 * MINUTE))
    assert {(each.origin, each.code, each.minute, each.count) for each in found} == {
        ("10.0.0.1", "unauthenticated", 0, 600),
        ("10.0.0.1", "unauthenticated", MINUTE, 600),
        ("10.0.0.2", "forbidden", 0, 60),
        ("10.0.0.2", "forbidden", MINUTE, 60),
    }
    assert denials.total == {"unauthenticated": 1200, "forbidden": 120}
    assert not list(denials.due(2 * MINUTE))


def test_the_running_minute_waits_for_its_end():
    denials = Denials()
    denials.count("10.0.0.1", "forbidden", 5)
    assert not list(denials.due(MINUTE - 1))
    assert [each.count for each in denials.due(MINUTE)] == [1]


def test_everything_at_the_end_and_nothing_twice():
    denials = Denials()
    denials.count("10.0.0.1", "forbidden", 5)
    assert [each.count for each in denials.due(6, everything=True)] == [1]
    denials.count("10.0.0.1", "forbidden", 7)
    assert [each.count for each in denials.due(8, everything=True)] == [1]
    assert not list(denials.due(9, everything=True))


def test_many_sources_become_others():
    denials = Denials(most=3)
    for source in range(100):
        denials.count(f"10.0.0.{source}", "unauthenticated", 5)
    found = {each.origin: each.count for each in denials.due(MINUTE)}
    assert found == {"10.0.0.0": 1, "10.0.0.1": 1, "10.0.0.2": 1, "others": 97}


def test_a_source_cannot_be_guessed_from_its_hash():
    one, two = Denials(), Denials()
    for denials in (one, two):
        denials.count("10.0.0.1", "forbidden", 5)
    (first,), (second,) = one.due(MINUTE), two.due(MINUTE)
    assert first.source != second.source
    assert "10.0.0.1" not in first.source
