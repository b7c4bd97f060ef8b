"""Reading members where they lie, and no more of them than is expected."""

import contextlib
import gzip
import hashlib
import io
import stat
import tarfile
import tracemalloc
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnjax.data.sources import archives
from snnjax.data.sources.archives import ArchiveError, check_archives, find_members, locate, survey
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
    with pytest.raises(FileNotFoundError, match=r'no files match \*\\\.jpg in'):
        find_members(lay_out('zip', tmp_path), r'\.jpg', max_size=10)
    with pytest.raises(FileNotFoundError, match='elsewhere does not exist'):
        find_members(tmp_path / 'elsewhere', '', max_size=10)


def test_names_that_lead_out_of_an_archive_are_only_names(tmp_path):
    path = tmp_path / 'it.tar'
    path.write_bytes(tar_of({'../../a/1.bin': b'x'}))
    (member,) = find_members(path, r'\.bin', max_size=10)
    assert member.read() == b'x'
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    'kind', [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b'Z']
)
def test_links_and_devices_in_the_place_of_files_are_refused(kind, tmp_path):
    path = tmp_path / 'it.tar'
    with tarfile.open(path, 'w') as tar:
        tar.addfile(tarfile.TarInfo('a/1.bin'))
        for name in ('a/2.bin', 'a/other'):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, '/etc/passwd'
            tar.addfile(info)
    with pytest.raises(ArchiveError, match=r'a/2\.bin in .*it\.tar is a link or not a file'):
        find_members(path, r'\.bin', max_size=10)
    # They do not matter elsewhere.
    assert len(find_members(path, r'1\.bin', max_size=10)) == 1


def test_links_in_zips_and_broken_links_in_folders_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / 'it.zip', 'w') as archive:
        info = zipfile.ZipInfo('a/1.bin')
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, 'elsewhere.bin')
    with pytest.raises(ArchiveError, match=r'a/1\.bin in .* is a link or not a file'):
        find_members(tmp_path / 'it.zip', r'\.bin', max_size=100)
    folder = write_all(tmp_path / 'folder', {'a/1.bin': b''})
    (folder / 'a/2.bin').symlink_to('elsewhere.bin')
    with pytest.raises(ArchiveError, match=r'a/2\.bin in .* is a broken link'):
        find_members(folder, r'\.bin', max_size=100)


def old_sparse(parts):
    """GNU tar's first format: a header for each 21 parts of the file."""
    info = tarfile.TarInfo('a/1.bin')
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1  # More of the list follows.
    header[148:156] = b' ' * 8
    header[148:156] = b'%06o\0 ' % sum(header)
    part = b'00000001000\0' * 2
    return bytes(header) + b''.join(
        (part * 21 + bytes([number < parts - 1])).ljust(512, b'\0') for number in range(parts)
    )


def pax_sparse(headers, content=b''):
    info = tarfile.TarInfo('a/1.bin')
    info.size, info.pax_headers = len(content), headers
    return info.tobuf(tarfile.PAX_FORMAT) + content.ljust(-(-len(content) // 512) * 512, b'\0')


@pytest.mark.parametrize('suffix', ['tar', 'tar.gz'])
@pytest.mark.parametrize(
    'content',
    [
        old_sparse(1),
        old_sparse(100_000),
        pax_sparse({'GNU.sparse.map': '0,5,10,5', 'GNU.sparse.size': '20'}, b'0123456789'),
        pax_sparse({'GNU.sparse.size': '20', 'GNU.sparse.numblocks': '1'}, b'0123456789'),
        pax_sparse(
            {'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '20'},
            b'1000000\n' + b'1\n' * 2_000_000,
        ),
        pax_sparse({'GNU.sparse.major': '2', 'GNU.sparse.minor': '0'}, b'0123456789'),
    ],
    ids=['old', 'old without end', '0.1', '0.0', '1.0 without end', 'later'],
)
def test_sparse_files_are_refused_before_they_take_memory(content, suffix, tmp_path):
    path = tmp_path / f'it.{suffix}'
    content += bytes(1024)
    path.write_bytes(content if suffix == 'tar' else gzip.compress(content))
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match='pack it again without --sparse'):
            find_members(path, r'\.bin', max_size=10**9)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


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
        with pytest.raises(ArchiveError, match=r'CRC|is truncated'):
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
    ids=lambda given: given if isinstance(given, str) else '',
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
    with pytest.raises(ArchiveError, match='truncated or damaged at byte 10,240'):
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


PETS = {'cat/1.bin': b'cat', 'dog/1.bin': b'dog', 'dog/2.bin': b'dogs'}


@pytest.mark.parametrize(
    'files',
    [
        {'pets.zip': zip_of(PETS)} | PETS,
        {'pets.TAR.GZ': tar_of(PETS, 'w:gz')} | PETS,
        {'cat/cat.tar': tar_of({'1.bin': b'cat'})} | PETS,
        {'train.tar': tar_of({'cat.tar': tar_of({'3.bin': b'cat'})} | PETS)},
        {'all.tar': tar_of({'cat.tar': tar_of({'1.bin': b'cat'})})} | PETS,
    ],
)
def test_an_archive_beside_what_was_unpacked_from_it_is_refused(files, tmp_path):
    with pytest.raises(ArchiveError, match=r'has files in .* and next to it .*: move one of them'):
        find_members(write_all(tmp_path, files), r'\.bin', max_size=10)


def test_two_archives_of_the_same_files_are_refused(tmp_path):
    files = {'pets.zip': zip_of(PETS), 'pets (1).tar.gz': tar_of(PETS, 'w:gz')}
    with pytest.raises(
        ArchiveError, match=r'pets\.zip and pets \(1\)\.tar\.gz in .* hold the same'
    ):
        find_members(write_all(tmp_path, files), r'\.bin', max_size=10)
    # Files of the same names and sizes may be others.
    other = {name: content[::-1] for name, content in PETS.items()}
    write_all(tmp_path, {'pets (1).tar.gz': tar_of(other, 'w:gz')})
    assert len(find_members(tmp_path, r'\.bin', max_size=10)) == 6


HIDDEN = [
    '.ipynb_checkpoints/1.bin',
    'cat/.ipynb_checkpoints/1.bin',
    '.Trash-1000/files/cat/1.bin',
    'cat/._1.bin',
    'cat/.1.bin',
    '__MACOSX/cat/._1.bin',
    '__MACOSX/cat/1.bin',
    'dog/@eaDir/1.bin',
    '$RECYCLE.BIN/S-1/1.bin',
    '._dog.tar',
]


@pytest.mark.parametrize('kind', ['folder', 'it.tar', 'it.zip', 'it.tgz'])
def test_what_is_hidden_does_not_count(kind, tmp_path):
    files = {f'.hidden set/x/{name}': b'' for name in HIDDEN} | dict.fromkeys(HIDDEN, b'') | PETS
    files = {f'./{name}': content for name, content in files.items()}
    content = {'it.tar': tar_of(files), 'it.tgz': tar_of(files, 'w:gz'), 'it.zip': zip_of(files)}
    source = tmp_path / '.of mine'
    write_all(source, files if kind == 'folder' else {kind: content[kind]})
    contents = survey(source, r'\.bin', max_size=10)
    prefix = '' if kind == 'folder' else 'it/'
    assert [member.name for member in contents.members] == [prefix + name for name in PETS]
    assert not contents.others
    assert contents.folders - {'it'} == {f'{prefix}cat', f'{prefix}dog'}


def test_a_zip_that_would_become_a_hundred_times_as_large_is_refused(tmp_path):
    write_all(tmp_path, {'it.zip': zip_of({'a/1.bin': bytes(2**25)})})
    with pytest.raises(ArchiveError, match=r'a/1\.bin .* decompresses to 33,554,432 bytes'):
        find_members(tmp_path, r'\.bin', max_size=2**30)


def test_a_tar_that_decompresses_to_a_hundred_times_its_size_is_refused(tmp_path):
    write_all(tmp_path, {'it.tgz': gzip.compress(bytes(2**26 + 1))})
    with pytest.raises(ArchiveError, match='decompresses to more than 67,108,864 bytes'):
        find_members(tmp_path, r'\.bin', max_size=2**30)


def test_published_checksums_are_checked(tmp_path):
    write_all(tmp_path, {'it.tar': b'right', 'another.tar': b'unknown'})
    right = {'it.tar': hashlib.md5(b'right').hexdigest(), 'absent.tar': 'x'}
    check_archives(tmp_path, right)
    check_archives(tmp_path / 'it.tar', right)
    check_archives(tmp_path / 'another.tar', right)
    for source in (tmp_path, tmp_path / 'it.tar'):
        with pytest.raises(
            ArchiveError, match=r'it\.tar has MD5 \w+, but the official file has 0:'
        ):
            check_archives(source, {'it.tar': '0'})


def test_a_download_is_located_beside_others(tmp_path):
    write_all(tmp_path, {'Train/x': b'', 'other.zip': b'broken'})
    assert locate(tmp_path, 'Train.zip', 'Train') == tmp_path / 'Train'
    assert locate(tmp_path / 'Train', 'Train.zip', 'Train') == tmp_path / 'Train'
    with pytest.raises(FileNotFoundError, match=r'no Test\.zip or Test in'):
        locate(tmp_path, 'Test.zip', 'Test')
