from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from envtui.core.errors import Failed
from envtui.core.secret import Secret
from envtui.core.text import clean
from envtui.outside.spool import BLOCK, LINE_BYTES, DiskSpool, FileTranscript


@pytest.fixture
def spool(tmp_path: Path) -> DiskSpool:
    return DiskSpool(tmp_path)


def lines_of(transcript: FileTranscript) -> list[bytes]:
    return [transcript.line(number) for number in range(transcript.lines)]


def test_a_line_is_whole_whatever_the_pieces_it_came_in(spool: DiskSpool) -> None:
    recording = spool.record("run/step@gw1", ())
    for piece in (b"fi", b"rst\nsec", b"ond", b"\n\nunfinished"):
        recording.out(piece)
    assert lines_of(recording) == [b"first", b"second", b"", b"unfinished"]
    assert recording.line(4) == b""
    assert recording.line(-1) == b""
    recording.out(b" no more\n")
    assert recording.line(3) == b"unfinished no more"
    recording.close()
    assert recording.line(3) == b"unfinished no more"  # a screen may still look
    recording.close()


def test_the_file_is_private_and_its_digest_is_what_finish_says(spool: DiskSpool) -> None:
    with_umask = os.umask(0)
    try:
        recording = spool.record("run/step@gw1", ())
    finally:
        os.umask(with_umask)
    recording.out(b"hello\n")
    digest, size, cut = recording.finish()
    path = spool.path("run/step@gw1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (digest, size, cut) == (hashlib.sha256(b"hello\n").hexdigest(), 6, False)
    assert spool.digest("run/step@gw1") == digest
    assert recording.finish() == (digest, size, cut)
    recording.close()


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b\x00c", ".", "..", "x" * 500, "gw1\n", "\udcff"])
def test_no_name_leaves_the_folder(spool: DiskSpool, tmp_path: Path, name: str) -> None:
    recording = spool.record(name, ())
    recording.out(b"x")
    recording.close()
    assert [path.parent for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path]
    replayed = spool.replay(name)
    assert replayed.line(0) == b"x"
    replayed.close()


def test_nothing_that_was_recorded_is_ever_overwritten(spool: DiskSpool) -> None:
    recording = spool.record("run/step@gw1", ())
    recording.out(b"first\n")
    recording.close()
    with pytest.raises(Failed, match="already"):
        spool.record("run/step@gw1", ())
    replayed = spool.replay("run/step@gw1")
    assert replayed.line(0) == b"first"
    replayed.close()


def test_a_secret_never_reaches_the_disk_even_between_two_streams(spool: DiskSpool) -> None:
    secret = "Tr0ub4dor&3"
    recording = spool.record("s", [Secret("pw", secret)])
    for at in range(len(secret)):
        recording.out(secret[at].encode())
        recording.err(b"-")
    recording.out(b"\nTr0u\x1b[0mb4dor&3\n")
    recording.out(b"ends with Tr0ub")
    recording.close()
    content = spool.path("s").read_bytes()
    assert b"***********" in content
    assert b"b4dor" not in content
    assert len(content) == 2 * len(secret) + len("\nTr0u\x1b[0mb4dor&3\nends with Tr0ub")


def test_standard_error_is_marked_and_stays_marked_in_a_replay(spool: DiskSpool) -> None:
    recording = spool.record("s", ())
    recording.out(b"one\n")
    recording.err(b"two\nthree\n")
    recording.out(b"four\n")
    recording.close()
    replayed = spool.replay("s")
    for transcript in (recording, replayed):
        assert [transcript.is_error(number) for number in range(5)] == [False, True, True, False, False]
        transcript.close()


def test_a_line_without_end_is_many_short_ones_and_no_character_is_split(spool: DiskSpool) -> None:
    data = "€".encode() * 5000 + b"\n" + b"x" * LINE_BYTES + b"\n" + b"y" * (LINE_BYTES + 1)
    recording = spool.record("s", ())
    for at in range(0, len(data), 1000):
        recording.out(data[at : at + 1000])
    lines = lines_of(recording)
    assert max(map(len, lines)) <= LINE_BYTES
    assert [set(line.decode()) for line in lines] == [{"€"}] * 4 + [{"x"}, {"y"}, {"y"}]
    assert b"".join(lines) == data.replace(b"\n", b"")
    recording.close()
    replayed = spool.replay("s")
    assert lines_of(replayed) == lines
    replayed.close()


def test_output_is_cut_at_the_cap_but_drained_and_counted(tmp_path: Path) -> None:
    recording = DiskSpool(tmp_path, cap=1000).record("s", ())
    for _ in range(10):
        recording.out(b"z" * 300)
    digest, size, cut = recording.finish()
    assert (size, cut, recording.received) == (1000, True, 3000)
    assert digest == hashlib.sha256(b"z" * 1000).hexdigest()
    assert "1000" in recording.why
    recording.close()


_FULL = """
import resource, sys
from pathlib import Path
from envtui.outside.spool import DiskSpool
recording = DiskSpool(Path(sys.argv[1])).record("s", ())
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
for _ in range(10):
    recording.out(b"line\\n" * 8000)
print(recording.finish()[1:], recording.received, recording.lines, recording.line(19_999), "|", recording.why)
"""


def test_a_disk_that_takes_no_more_does_not_end_the_act(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    assert said == "(100000, True) 400000 20000 b'line' | 100000 bytes were kept, then: File too large\n"


def test_search_goes_on_from_a_line_and_minds_capitals_only_when_asked(spool: DiskSpool) -> None:
    recording = spool.record("s", ())
    filler = b"nothing here\n" * 200_000  # more than one search window
    recording.out(b"Error: one\n" + filler + b"error: two\n" + filler + b"last error")
    assert recording.search("error") == 0
    assert recording.search("error", 1) == 200_001
    assert recording.search("Error", 1) is None
    assert recording.search("error", 200_002) == 400_002 == recording.lines - 1
    assert recording.search("") is None
    assert recording.search("error", 10_000_000) is None
    recording.close()


def test_a_reader_sees_whole_lines_while_a_writer_writes(spool: DiskSpool) -> None:
    recording = spool.record("s", ())
    row = b"%09d the quick brown fox jumps over the lazy dog\n"
    wrong: list[tuple[int, bytes]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            count = recording.lines
            for number in {0, count // 2, count - 2}:
                line = recording.line(number)
                if 0 <= number < count - 1 and line != (row % number).rstrip(b"\n"):  # all but the last are complete
                    wrong.append((number, line))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    data = b"".join(row % number for number in range(60_000))
    for at in range(0, len(data), 10_007):
        recording.out(data[at : at + 10_007])
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert recording.lines == 60_000
    recording.close()


def test_200_mb_are_read_by_line_and_kept_out_of_memory(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from envtui.outside.spool import DiskSpool
row = b"2026-11-22T09:46:01Z gw1 nginx[991]: 403 GET /api/v1/items?tenant=acme 0.003 %010d\\n"
piece = b"".join(row % n for n in range(800))
recording = DiskSpool(Path(sys.argv[1])).record("s", ())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(200_000_000 // len(piece) + 1):
    recording.out(piece)
assert recording.size >= 200_000_000 and recording.lines == recording.size // len(row % 0)
middle = recording.lines // 2
assert recording.line(middle).endswith(b"%010d" % (middle % 800))
assert recording.search("no such text", middle) is None
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
recording.close()
"""
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    assert int(said) <= 30  # MiB
    (file,) = tmp_path.glob("*.out")
    file.unlink()


def test_bytes_that_are_no_text_come_back_as_they_were(spool: DiskSpool) -> None:
    data = bytes(range(256)) * 20
    recording = spool.record("s", ())
    recording.out(data)
    assert b"\n".join(lines_of(recording)) == data
    assert "<0x80>" in clean(recording.line(1))
    recording.close()


def test_an_index_entry_is_made_for_a_block_and_not_for_a_line(spool: DiskSpool) -> None:
    recording = spool.record("s", ())
    recording.out(b"x\n" * BLOCK)
    assert len(recording._index._anchor_offsets) == 1 + 2 * BLOCK // BLOCK
    recording.close()


def test_a_transcript_that_is_gone_is_said_plainly(spool: DiskSpool) -> None:
    with pytest.raises(Failed, match="cannot be read"):
        spool.replay("never")
    with pytest.raises(Failed, match="cannot be read"):
        spool.digest("never")


def test_no_folder_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="No output can be recorded"):
        DiskSpool(tmp_path / "missing").record("s", ())
