"""Files as tests need them: laid out, archived, damaged."""

import io
import tarfile

from hypothesis import strategies as st


def write_all(folder, files):
    """Writes ``{name: content}``; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def tar_of(files, mode='w'):
    """A tar file of ``{name: content}``."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@st.composite
def damaged(draw, content):
    """The bytes with a few bits turned over, or cut short."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content) - 1))
        if draw(st.booleans()):
            content[place] ^= 1 << draw(st.integers(0, 7))
        else:
            del content[place + 1 :]
    return bytes(content)
