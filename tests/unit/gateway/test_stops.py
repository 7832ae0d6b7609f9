import pytest

from pilotage.errors import Conflict
from pilotage.gateway.stops import ALL, StopFile, read_stops, stop_here


def test_a_change_of_the_file_is_seen_once(tmp_path):
    path = tmp_path / "stops.json"
    file = StopFile(path)
    assert not file.changed() and file.stops == {}
    stop_here(path, "credit", "wrong prices", 5)
    assert file.changed() and not file.changed()
    assert (file.stops["credit"].reason, file.stops["credit"].at) == ("wrong prices", 5)
    assert file.stops["credit"].by
    stop_here(path, ALL, "fire", 6)
    assert file.changed() and set(file.stops) == {"credit", ALL}
    stop_here(path, "credit", None, 7)
    stop_here(path, ALL, None, 7)
    assert file.changed() and file.stops == {}


def test_what_is_so_already_is_told(tmp_path):
    path = tmp_path / "stops.json"
    with pytest.raises(Conflict, match="not stopped"):
        stop_here(path, "credit", None, 1)
    stop_here(path, "credit", "x", 1)
    with pytest.raises(Conflict, match="stopped on this node"):
        stop_here(path, "credit", "y", 1)


@pytest.mark.parametrize("content", [b"", b"{", b'{"credit": 1}', b"\xff"])
def test_a_file_that_cannot_be_read_stops_everything_and_can_be_ended(tmp_path, content):
    path = tmp_path / "stops.json"
    path.write_bytes(content)
    file = StopFile(path)
    assert file.changed() and set(file.stops) == {ALL} == set(read_stops(path))
    assert "cannot be read" in file.stops[ALL].reason
    stop_here(path, ALL, None, 1)
    assert file.changed() and file.stops == {}
