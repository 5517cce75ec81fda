"""Tables as people write and save them: dividers, encodings, headers, ways to name a file; and what is said where they cannot be read."""

from __future__ import annotations

import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kinema.errors import FormatError, UserError
from kinema.motion.formats import guess, npz, user
from kinema.motion.formats.members import Member, members
from kinema.motion.skeleton import tree

STICK = tree("stick", "root -\na root\nb root\nc root")
P = np.random.default_rng(0).random((20, 4, 3)).round(4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in "abc":
        np.save(folder / f"{name}.npy", P)
    return folder


def jobs(folder: Path, table: str | bytes = "", **more):
    if table:
        (folder / "clips.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    return user.jobs(folder, None, STICK, **more)


def labels(folder: Path, table: str | bytes) -> list[tuple[str, str]]:
    return [(job.name, user.read(job)[0].label_name) for job in jobs(folder, table)]


SEMICOLONS = "file;label;fps;start;end\r\na.npy;grüßen;29,97;0;12\r\nb.npy;sit, down;25;2,0;\r\n"


@pytest.mark.parametrize(
    "content",
    [
        SEMICOLONS.encode(),
        SEMICOLONS.encode("utf-8-sig"),
        SEMICOLONS.encode("cp1252"),
        SEMICOLONS.replace("\r\n", "\r").encode(),
        SEMICOLONS.replace(";", "\t").encode("utf-16"),
        SEMICOLONS.replace(";", "\t").replace("\r\n", "\n").encode(),
        SEMICOLONS.replace(";", "|").encode(),
        ("sep=;\r\n" + SEMICOLONS).encode(),
        SEMICOLONS.replace("file;label", " FILE ; Label ").encode(),
        SEMICOLONS.replace("file;label", '"file";"label"').replace("sit, down", '"sit, down"').encode(),
        SEMICOLONS.replace("end\r\n", "end;;\r\n").replace("12\r\n", "12;;\r\n").replace("2,0;\r\n", "2,0;;;\r\n").encode(),
        b"\r\n\r\n;;\r\n" + SEMICOLONS.encode(),
    ],
    ids="plain mark 1252 mac utf16 tab bar sep case quoted trailing blank".split(),
)
def test_what_spreadsheets_save_is_read(folder: Path, content: bytes):
    found = jobs(folder, content)
    first, second = (user.read(job)[0] for job in found)
    assert [job.name for job in found] == ["a.npy[0:12]", "b.npy[2:]"]
    assert (first.label_name, second.label_name) == ("grüßen", "sit, down")
    assert (first.frames, second.frames, first.fps, second.fps) == (12, 18, 29.97, 25)
    assert found.classes == ("grüßen", "sit, down")


def test_a_guessed_encoding_and_ignored_columns_are_told(folder: Path):
    assert "not UTF-8 (line 2), read as Windows-1252" in " ".join(jobs(folder, SEMICOLONS.encode("cp1252")).remarks)
    found = jobs(folder, ",file,label,color,splt\n0,a.npy,x,red,train\n")
    assert found.remarks == ("clips.csv: columns ignored: one without a name, 'color', 'splt' (did you mean split?)",)
    assert user.read(found[0])[0].meta == {}
    assert jobs(folder, "file,label\na.npy,x\n").remarks == ()


def test_labels_that_look_alike_are_told(folder: Path):
    found = jobs(folder, "file,label\na.npy,1\nb.npy,01\nc.npy,1.0\n")
    assert found.remarks == ("labels that look alike are classes of their own: '01' and '1' and '1.0'",)
    assert "'Wave' and 'wave'" in jobs(folder, "file,label\na.npy,Wave\nb.npy,wave\n").remarks[0]
    assert jobs(folder, "file,label\na.npy,1\nb.npy,10\n").remarks == ()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,lable\na.npy,x\n", "no column label .did you mean label by 'lable'"),
        ("a.npy,x\nb.npy,y\n", "no header, it seems: the first line is 'a.npy', 'x'; write file,label above it"),
        ("\n \n", "the table is empty"),
        (b"PK\x03\x04 and more", "a spreadsheet or an archive under the name of a table; save it as CSV"),
        (b"\xd0\xcf\x11\xe0 and more", "a spreadsheet"),
        (b"file,label\na.npy,\x81\n", "line 2: not text in UTF-8; save it as CSV"),
        ("file,label\na.npy,x".encode("utf-16-le"), "a zero byte; not a text file"),
        ("file,label\na.npy,wa\x07ve\n", "line 2: label 'wa.x07ve' holds a control character"),
        ("file,label,start\na.npy,x,1.5\n", "line 2: start '1.5'; expected a frame number"),
        ("file,label\na.npy,x, left\n", "line 2: 3 cells; the header has 2"),
        ("sep=;\nfile;label\na.npy\n", "line 3: 1 cell; the header has 2"),
    ],
)
def test_what_cannot_be_read_is_told(folder: Path, table: str | bytes, message: str):
    with pytest.raises(UserError, match=message) as caught:
        jobs(folder, table)
    assert "\n" not in str(caught.value)
    assert "clips.csv" in str(caught.value)


def test_spreadsheets_in_place_of_a_table_are_told(folder: Path):
    (folder / "clips.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match=r"clips.xlsx is a spreadsheet: save it as CSV, called clips.csv"):
        guess(folder)
    with pytest.raises(UserError, match="a spreadsheet; save it as CSV"):
        user.jobs(folder, folder / "clips.xlsx", STICK)
    with pytest.raises(UserError, match="a spreadsheet; save it as CSV"):
        guess(folder / "clips.xlsx")


def test_a_table_of_another_name_is_pointed_at(folder: Path):
    (folder / "index.csv").write_text("file,label\na.npy,x\n")
    for attempt in (guess, jobs):
        with pytest.raises(UserError, match=r"if index.csv is your table, call it clips.csv, or name it with --index"):
            attempt(folder)
    (folder / "index.csv").rename(folder / "Clips.TSV")
    assert guess(folder) == "user"
    assert len(jobs(folder)) == 1
    with pytest.raises(UserError, match="a table of clips; give the folder that holds it"):
        user.jobs(folder / "Clips.TSV", None, STICK)


def test_files_are_found_however_they_are_named(folder: Path):
    (folder / "sub").mkdir()
    np.save(folder / "sub" / "d.npy", P)
    names = ["sub\\d.npy", "./a.npy", f"{folder}/b.npy", "mine/c.npy", " sub/../a.npy ", "../mine/b.npy"]
    table = "file,label,start\n" + "".join(f"{name},x,{i}\n" for i, name in enumerate(names))
    found = sorted(job.name for job in jobs(folder, table))
    assert found == ["a.npy[1:]", "a.npy[4:]", "b.npy[2:]", "b.npy[5:]", "c.npy[3:]", "sub/d.npy"]


def test_all_missing_files_are_counted_and_the_first_are_named(folder: Path):
    table = "file,label\n" + "".join(f"m{i}.npy,x\n" for i in range(12)) + "a.npy,x\n"
    with pytest.raises(UserError, match=r"12 of 13 rows name files that are not in .*: 'm0.npy' \(line 2\), .* and 7 more"):
        jobs(folder, table)


def test_many_missing_files_are_told_before_the_table_is_read_on(folder: Path):
    seen = []
    with pytest.raises(UserError, match="more than 1000 rows name files that are not in"):
        jobs(folder, "file,label\n" + "m.npy,x\n" * 20_000, step=seen.append)
    assert max(seen) <= 1001


def test_why_a_file_is_not_there(folder: Path):
    (folder / "d.npy").mkdir()
    (folder / "e.npy").symlink_to("nowhere")
    (folder / "f.npy").symlink_to("f.npy")
    (folder.parent / "other").mkdir()
    np.save(folder.parent / "other" / "g.npy", P)
    (folder / "linked").symlink_to(folder.parent / "other")
    (folder / "around").symlink_to(folder)
    reasons = {
        "d.npy": "that is a folder",
        "e.npy": "that is a link to nothing",
        "linked/g.npy": "behind a link to a folder",
        "A.npy": "there is 'a.npy', with other letter case",
        "deep/a.npy": "there is 'a.npy'",
        "../other/g.npy": "that lies outside",
        "/etc/x.npy": "write paths as they are from the table's folder",
    }
    for name, reason in reasons.items():
        with pytest.raises(UserError, match=reason):
            jobs(folder, f"file,label\n{name},x\n")


def test_more_rows_than_are_read_are_refused_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kinema.motion.formats.rows.MAX_ROWS", 5)
    table = "file,label,start\n" + "".join(f"a.npy,x,{i}\n" for i in range(6))
    with pytest.raises(UserError, match=r"clips.csv: more than 5 rows; split the table, and build a store of each part"):
        jobs(folder, table, step=lambda done: pytest.fail("a row was read"))
    assert len(jobs(folder, table[: table.rindex("a.npy")])) == 5


def test_everything_in_one_folder_of_a_folder_or_zip(folder: Path, tmp_path: Path):
    (folder / "clips.csv").write_text("file,label\na.npy,x\n")
    (folder / "skeleton.json").write_text('{"joints": ["root", "a", "b", "c"]}')
    (tmp_path / ".DS_Store").write_bytes(b"junk")
    archive = tmp_path / "packed.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in folder.iterdir():
            packed.write(file, f"my motions/{file.name}")
            packed.writestr(f"__MACOSX/my motions/._{file.name}", b"junk")
    for source in (folder, tmp_path, archive):
        assert guess(source) == "user"
        (job,) = user.jobs(source)
        assert job.name == "a.npy"
        assert user.read(job)[0].frames == 20
    outside = tmp_path / "outside" / "table.csv"
    outside.parent.mkdir()
    outside.write_text("file,label\na.npy,x\n")
    assert user.jobs(archive, outside, STICK)[0].name == "a.npy"


def test_two_tables_are_told(folder: Path, tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "clips.csv").write_text("file,label\na.npy,x\n")
    with pytest.raises(UserError, match=r"one/clips.csv and two/clips.csv; which is it"):
        user.jobs(tmp_path, None, STICK)


def test_the_table_of_a_subfolder_names_files_from_there_or_from_the_source(folder: Path):
    (folder / "meta").mkdir()
    np.save(folder / "meta" / "d.npy", P)
    (folder / "meta" / "clips.csv").write_text("file,label\nd.npy,x\na.npy,y\n../b.npy,z\n")
    assert [job.member.name for job in user.jobs(folder, None, STICK)] == ["meta/d.npy", "a.npy", "b.npy"]
    assert len(user.jobs(folder, folder / "meta" / "clips.csv", STICK)) == 3


# many clips of one file


@pytest.fixture
def long(folder: Path) -> Path:
    positions = np.random.default_rng(0).random((200_000, 4, 3), dtype=np.float32)
    np.save(folder / "long.npy", positions)
    np.savez_compressed(folder / "long.npz", positions=positions[:, None], confidence=np.ones((200_000, 4), np.float32))
    np.savetxt(folder / "long.csv", positions[:2000].reshape(-1, 12), delimiter=",", fmt="%.5f")
    return folder


def windows(file: str, count: int, size: int) -> str:
    return "".join(f"{file},{'xy'[i % 2]},{i * size},{i * size + size}\n" for i in range(count))


@pytest.mark.parametrize(("file", "size"), [("long.npy", 1000), ("long.npz", 1000), ("long.csv", 20)])
def test_a_file_is_read_once_and_its_clips_are_copies(long: Path, monkeypatch: pytest.MonkeyPatch, file: str, size: int):
    reads: list[str] = []
    read = Member.read
    monkeypatch.setattr(Member, "read", lambda self, *more: reads.append(self.name) or read(self, *more))
    # a row of another file between them changes nothing
    table = (
        "file,label,start,end\n"
        + windows(file, 30, size)
        + "a.npy,z,0,5\n"
        + windows(file, 60, size)[len(windows(file, 30, size)) :]
    )
    found = jobs(long, table)
    reads.clear()
    clips = [user.read(job)[0] for job in found]
    assert sorted(reads) == ["a.npy", file]
    assert all(array.base is None for clip in clips for array in (clip.positions, clip.confidence) if array is not None)
    assert [clip.frames for clip in clips] == [size] * 60 + [5]
    whole, _ = npz.load_array(found[0].member) if file != "long.csv" else (None, None)
    if whole is not None:
        np.testing.assert_array_equal(clips[7].positions.reshape(size, 4, 3), whole.reshape(-1, 4, 3)[7 * size : 8 * size])


def test_nothing_of_a_file_stays_in_memory_when_its_clips_are_cut(long: Path):
    found = jobs(long, "file,label,start,end\n" + windows("long.npy", 50, 10))
    tracemalloc.start()
    clips = [user.read(job)[0] for job in found]
    left, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = (long / "long.npy").stat().st_size
    assert len(clips) == 50
    assert left < size / 10
    assert peak < 3 * size


def test_a_damaged_file_is_read_once_and_skipped_row_by_row(long: Path, monkeypatch: pytest.MonkeyPatch):
    (long / "long.npy").write_bytes((long / "long.npy").read_bytes()[:-5])
    reads: list[str] = []
    read = Member.read
    found = jobs(long, "file,label,start,end\n" + windows("long.npy", 5, 10))
    monkeypatch.setattr(Member, "read", lambda self, *more: reads.append(self.name) or read(self, *more))
    for job in found:
        with pytest.raises(FormatError, match="cut off or damaged"):
            user.read(job)
    assert reads == ["long.npy"]


def test_a_bad_frame_spoils_only_the_clips_that_hold_it(folder: Path):
    bad = P.copy()
    bad[13] = np.nan
    np.save(folder / "a.npy", bad)
    first, second = jobs(folder, "file,label,start,end\na.npy,x,0,10\na.npy,x,10,20\n")
    assert user.read(first)[0].frames == 10
    with pytest.raises(FormatError, match="NaN or infinity in frame 13;"):
        user.read(second)


def test_confidence_of_another_length_is_told(folder: Path):
    np.savez(folder / "d.npz", positions=P, confidence=np.ones((30, 4)))
    (job,) = jobs(folder, "file,label,start,end\nd.npz,x,0,10\n")
    with pytest.raises(FormatError, match=r"confidence \(30, 4\); expected one for each joint"):
        user.read(job)


@pytest.mark.parametrize(("delimiter", "comma"), [(";", True), (";", False), ("\t", True), (" ", False), (",", False)])
def test_numbers_as_spreadsheets_save_them(folder: Path, delimiter: str, comma: bool):
    np.savetxt(folder / "d.csv", P.reshape(20, 12), delimiter=delimiter, fmt="%.4f")
    if comma:
        (folder / "d.csv").write_text((folder / "d.csv").read_text().replace(".", ","))
    (job,) = jobs(folder, "file,label\nd.csv,x\n")
    np.testing.assert_allclose(user.read(job)[0].positions[:, 0], P, atol=1e-6)


def test_a_header_above_numbers_is_told(folder: Path):
    (folder / "d.csv").write_text("x0,y0,z0\n1,2,3\n")
    (job,) = jobs(folder, "file,label\nd.csv,x\n")
    with pytest.raises(FormatError, match="its first line begins with 'x0', no number; remove the header"):
        user.read(job)


def test_a_skeleton_beside_a_table_that_lies_elsewhere(folder: Path, tmp_path: Path):
    (tmp_path / "table.csv").write_text("file,label\na.npy,x\n")
    with pytest.raises(UserError, match=r"no skeleton.json; name a skeleton with --skeleton"):
        user.jobs(folder, tmp_path / "table.csv")
    (tmp_path / "skeleton.json").write_text('{"name": "near", "joints": ["root", "a", "b", "c"]}')
    (job,) = user.jobs(folder, tmp_path / "table.csv")
    assert user.read(job)[0].skeleton.name == "near"


# what is in a folder or a zip


def test_a_zip_made_on_windows_and_what_systems_leave(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        entry = zipfile.ZipInfo("x")
        entry.filename = "sub\\a.txt"
        archive.writestr(entry, "here")
        for junk in ("__MACOSX/sub/._a.txt", ".DS_Store", "sub/Thumbs.db", "._b"):
            archive.writestr(junk, "junk")
    (found,) = members(tmp_path / "x.zip")
    assert found.name == "sub/a.txt"
    assert found.read() == b"here"


def test_folders_that_cannot_be_listed_and_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to("a")
    os.mkfifo(tmp_path / "pipe")
    assert [m.name for m in members(tmp_path)] == ["a", "b"]
    with pytest.raises(UserError, match="neither a file nor a folder"):
        members(tmp_path / "pipe")

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(UserError, match=r"cannot be listed \(Permission denied\); make it readable"):
        members(tmp_path)


def test_a_member_that_is_twice_in_a_zip_is_told(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.txt", "1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.txt", "2")
    with pytest.raises(UserError, match=r"'a.txt' is there twice"):
        members(tmp_path / "x.zip")


def test_what_is_beside_a_table_is_looked_into_for_advice_alone(folder, monkeypatch):
    (folder / "clips.csv").write_text("file,label\na.npy,x\n")
    (folder / "notes.txt").write_text("locked")

    head = Member.head

    def refuse(member, count):
        if member.file == "notes.txt":
            raise FormatError(member.origin, "cannot be read")
        return head(member, count)

    monkeypatch.setattr(Member, "head", refuse)
    assert len(user.jobs(folder, skeleton=STICK)) == 1
    (folder / "clips.csv").unlink()
    with pytest.raises(UserError, match="list your clips there"):
        user.jobs(folder, skeleton=STICK)
