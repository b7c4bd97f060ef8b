"""Programs that stand in for those of clouds and clusters, and write down how they were called."""

import json
import os
import stat
import sys

# Each program appends its arguments to LOG, and answers as ANSWERS says, which lists for each of
# its subcommands what comes next: a text to print, or a number to end with.
PROGRAM = """\
#!{python}
import json, os, pathlib, subprocess, sys
folder = pathlib.Path({folder!r})
name, arguments = {name!r}, sys.argv[1:]
with open(folder / 'log.jsonl', 'a') as log:
    log.write(json.dumps([name, *arguments]) + '\\n')
answers = json.loads((folder / 'answers.json').read_text())
for key, waiting in answers.items():
    if waiting and set(key.split()) <= {{name, *arguments}}:
        answer = waiting.pop(0)
        (folder / 'answers.json').write_text(json.dumps(answers))
        if isinstance(answer, int):
            sys.exit(answer)
        print(answer)
        break
for argument in arguments:
    # What a host's shell makes of a command is written down, too.
    if argument.startswith('--command='):
        sys.exit(subprocess.run(['bash', '-c', argument.partition('=')[2]], cwd=folder).returncode)
"""


class Stand:
    """A folder of programs that stand in for others.

    Args:
      folder: folder to make them in.
      names: names of the programs.
      answers: answers by the words that a call has, see `PROGRAM`.
    """

    def __init__(self, folder, names, answers):
        self.folder = folder
        (folder / 'bin').mkdir()
        (folder / 'answers.json').write_text(json.dumps(answers))
        for name in names:
            program = folder / 'bin' / name
            program.parent.mkdir(exist_ok=True)
            text = PROGRAM.format(python=sys.executable, folder=str(folder), name=name)
            program.write_text(text)
            program.chmod(program.stat().st_mode | stat.S_IXUSR)

    @property
    def environment(self):
        """Environment in which the programs are found first."""
        return os.environ | {'PATH': f'{self.folder / "bin"}:{os.environ["PATH"]}'}

    @property
    def calls(self):
        """Arguments of all calls so far, with the name of the program."""
        log = self.folder / 'log.jsonl'
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
