"""Reading members where they lie, and no more of them than is expected."""

import contextlib
import gzip
import hashlib
import io
import tarfile
import tracemalloc
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnjax.data import archives
from snnjax.data.archives import ArchiveError, check_archives, find_members, locate
from tests.data.files import damaged, tar_of, write_all

FILES = {
    'set/b/10.bin': b'ten',
    'set/b/9.bin': b'nine' * 1000,
    'set/a/1.bin': b'',
    'set/notes.txt': b'text',
    '__MACOSX/set/a/1.bin': b'resource fork',
}
WANTED = ['set/a/1.bin', 'set/b/9.bin', 'set/b/10.bin']


def zip_of(files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def lay_out(kind, folder):
    """The files in one of the ways that people have them."""
    by_class = {
        f'set/{name}.tar': tar_of(
            {k.removeprefix(f'set/{name}/'): v for k, v in FILES.items() if f'set/{name}/' in k}
        )
        for name in 'ab'
    }
    contents = {
        'folder': FILES,
        'tar': {'it.tar': tar_of(FILES)},
        'tar.gz': {'it.tar.gz': tar_of(FILES, 'w:gz')},
        'tgz': {'it.tgz': tar_of(FILES, 'w:gz')},
        'zip': {'it.zip': zip_of(FILES)},
        'tar of tars': {'it.tar': tar_of(by_class)},
        'zips in a folder': {'set.zip': zip_of({k.removeprefix('set/'): FILES[k] for k in WANTED})},
    }[kind]
    write_all(folder, contents)
    return next(folder.glob('it.*'), folder)


@pytest.mark.parametrize(
    'kind', ['folder', 'tar', 'tar.gz', 'tgz', 'zip', 'tar of tars', 'zips in a folder']
)
def test_members_are_found_in_natural_order_wherever_they_lie(kind, tmp_path):
    source = lay_out(kind, tmp_path)
    members = find_members(source, r'\.BIN', max_size=10_000)
    assert [member.name for member in members] == WANTED
    # Backwards, as nobody reads them.
    for member in reversed(members):
        assert member.read() == FILES[member.name]


def test_a_member_that_is_too_large_is_refused_unread(tmp_path):
    for kind in ('folder', 'tar', 'zip'):
        source = lay_out(kind, tmp_path / kind)
        with pytest.raises(ArchiveError, match=r'set/b/9\.bin in .* has 4,000 bytes, more than 9'):
            find_members(source, r'\.bin', max_size=9)


def test_more_members_than_expected_are_refused(tmp_path, monkeypatch):
    source = lay_out('tar', tmp_path)
    with pytest.raises(ArchiveError, match='more than 2 files'):
        find_members(source, r'\.bin', max_size=10_000, max_members=2)
    monkeypatch.setattr(archives, 'MAX_MEMBERS', 4)
    with pytest.raises(ArchiveError, match='more than 4 files'):
        find_members(source, r'notes\.txt', max_size=10_000)


def test_nothing_found_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no files \*\\\.jpg in'):
        find_members(lay_out('zip', tmp_path), r'\.jpg', max_size=10)
    with pytest.raises(FileNotFoundError, match=r'no .*elsewhere'):
        find_members(tmp_path / 'elsewhere', '', max_size=10)


def test_names_that_lead_out_of_an_archive_are_only_names(tmp_path):
    path = tmp_path / 'it.tar'
    path.write_bytes(tar_of({'../../a/1.bin': b'x'}))
    (member,) = find_members(path, r'\.bin', max_size=10)
    assert member.read() == b'x'
    assert list(tmp_path.iterdir()) == [path]


def test_links_and_devices_in_an_archive_are_not_followed(tmp_path):
    path = tmp_path / 'it.tar'
    with tarfile.open(path, 'w') as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo('a/1.bin')
            info.type, info.linkname = kind, '/etc/passwd'
            tar.addfile(info)
    with pytest.raises(FileNotFoundError):
        find_members(path, r'\.bin', max_size=10)


def test_archives_are_opened_in_archives_once(tmp_path):
    content = tar_of({'1.bin': b'x'})
    for _ in range(3):
        content = tar_of({'deeper.tar': content})
    (tmp_path / 'it.tar').write_bytes(content)
    (member,) = find_members(tmp_path / 'it.tar', r'\.tar', max_size=10**6)
    assert member.name == 'deeper/deeper.tar'


def test_a_zip_that_lies_about_its_sizes_is_broken(tmp_path):
    content = bytearray(zip_of({'a/1.bin': b'\0' * 10**7}))
    header = content.index(b'PK\1\2')
    content[header + 24 : header + 28] = (100).to_bytes(4, 'little')
    path = tmp_path / 'it.zip'
    path.write_bytes(content)
    (member,) = find_members(path, r'\.bin', max_size=100)
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match=r'CRC|ends early'):
            member.read()
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


def test_an_encrypted_zip_is_refused(tmp_path):
    content = bytearray(zip_of({'a/1.bin': b'secret'}))
    for mark, place in ((b'PK\1\2', 8), (b'PK\3\4', 6)):
        content[content.index(mark) + place] |= 1
    (tmp_path / 'it.zip').write_bytes(content)
    (member,) = find_members(tmp_path / 'it.zip', r'\.bin', max_size=100)
    with pytest.raises(ArchiveError, match='encrypted'):
        member.read()


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('it.zip', b'PK\3\4 and nothing more'),
        ('it.tar.gz', gzip.compress(tar_of(FILES))[:-200]),
        ('it.tgz', b'\x1f\x8b' + b'no gzip'),
        ('it.tar', b'not a tar file' * 100),
    ],
)
def test_a_broken_archive_is_named(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArchiveError, match=name):
        find_members(tmp_path / name, r'\.bin', max_size=10_000)


SEEDS = {'it.tar': tar_of(FILES), 'it.tar.gz': tar_of(FILES, 'w:gz'), 'it.zip': zip_of(FILES)}


@pytest.mark.parametrize('name', SEEDS)
@given(data=st.data())
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_damage_is_an_error_of_its_own_and_takes_no_memory(name, data, tmp_path_factory):
    path = tmp_path_factory.mktemp('damaged') / name
    path.write_bytes(data.draw(damaged(SEEDS[name])))
    tracemalloc.start()
    try:
        with contextlib.suppress(ArchiveError, FileNotFoundError):
            for member in find_members(path, r'\.bin', max_size=10_000):
                assert len(member.read()) == member.size <= 10_000
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize('end', [0, 100, 511])
@pytest.mark.parametrize('inner', [False, True])
def test_a_tar_file_that_breaks_off_is_not_taken_for_whole(tmp_path, end, inner):
    content = tar_of({f'a/{i}.bin': bytes([i]) * 512 for i in range(20)})
    # Within the tenth header, or where it would begin.
    content = content[: 10 * 1024 + end]
    path = tmp_path / 'it.tar'
    path.write_bytes(tar_of({'a.tar': content}) if inner else content)
    with pytest.raises(ArchiveError, match=r'it\.tar cannot be read: '):
        find_members(path, r'\.bin', max_size=600)


@pytest.mark.parametrize('damage', [bytes(512), b'\1' * 512])
def test_a_tar_file_with_a_damaged_header_is_not_taken_for_whole(tmp_path, damage):
    content = bytearray(tar_of({f'a/{i}.bin': bytes([i]) * 512 for i in range(20)}))
    content[10 * 1024 : 10 * 1024 + 512] = damage
    path = tmp_path / 'it.tar'
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match='breaks off or is damaged at byte 10,240'):
        find_members(path, r'\.bin', max_size=600)


def test_a_size_below_zero_is_refused(tmp_path):
    content = bytearray(tar_of({'a/1.bin': b'', 'a/2.bin': b''}))
    header = content[512:1024]
    header[124:136] = b'\xff' * 10 + (-512 & 0xFFFF).to_bytes(2)
    header[148:156] = b' ' * 8
    header[148:156] = b'%06o\0 ' % sum(header)
    content[512:1024] = header
    path = tmp_path / 'it.tar'
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match='cannot be read'):
        find_members(path, r'\.bin', max_size=600)


def test_a_header_that_claims_to_be_huge_is_refused(tmp_path):
    info = tarfile.TarInfo('long')
    info.type, info.size = tarfile.XHDTYPE, 2**30
    path = tmp_path / 'it.tar.gz'
    with gzip.open(path, 'wb', 1) as file:
        file.write(tar_of({'a/1.bin': b''})[:512] + info.tobuf())
        for _ in range(20):
            file.write(bytes(2**20))
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match='cannot be read'):
            find_members(path, r'\.bin', max_size=600)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def test_what_decompresses_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, 'MAX_DECOMPRESSED', 2**20)
    path = tmp_path / 'it.tar.gz'
    path.write_bytes(gzip.compress(bytes(2**26), 1))
    with pytest.raises(ArchiveError, match='more than 1,048,576 bytes'):
        find_members(path, r'\.bin', max_size=600)


def test_links_to_where_they_are_end(tmp_path):
    write_all(tmp_path, {'a/1.bin': b'', 'b/2.bin': b''})
    for name in 'ab':
        (tmp_path / name / 'again').symlink_to(tmp_path)
    (tmp_path / 'c').symlink_to(tmp_path / 'a')
    members = find_members(tmp_path, r'\.bin', max_size=10)
    assert [member.name for member in members if member.name.count('/') == 1] == [
        'a/1.bin',
        'b/2.bin',
        'c/1.bin',
    ]


def test_a_file_that_is_there_twice_is_refused(tmp_path):
    write_all(tmp_path, {'a/1.bin': b'', 'a.zip': zip_of({'1.bin': b''})})
    with pytest.raises(ArchiveError, match=r'a/1\.bin is in .* twice, in .*a\.zip'):
        find_members(tmp_path, r'\.bin', max_size=10)


def test_published_checksums_are_checked(tmp_path):
    write_all(tmp_path, {'it.tar': b'right', 'another.tar': b'unknown'})
    right = {'it.tar': hashlib.md5(b'right').hexdigest(), 'absent.tar': 'x'}
    check_archives(tmp_path, right)
    check_archives(tmp_path / 'it.tar', right)
    check_archives(tmp_path / 'another.tar', right)
    for source in (tmp_path, tmp_path / 'it.tar'):
        with pytest.raises(ArchiveError, match=r'it\.tar has MD5 \w+, the official one has 0:'):
            check_archives(source, {'it.tar': '0'})


def test_a_download_is_located_beside_others(tmp_path):
    write_all(tmp_path, {'Train/x': b'', 'other.zip': b'broken'})
    assert locate(tmp_path, 'Train.zip', 'Train') == tmp_path / 'Train'
    assert locate(tmp_path / 'Train', 'Train.zip', 'Train') == tmp_path / 'Train'
    with pytest.raises(FileNotFoundError, match=r'no Test\.zip or Test in'):
        locate(tmp_path, 'Test.zip', 'Test')
