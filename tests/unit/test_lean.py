"""Packages without their `__init__`: what is used of them works, and whoever wants the rest gets it."""

from __future__ import annotations

import subprocess
import sys

import pytest


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_package_asked_for_a_name_of_its_own_is_complete_after_all() -> None:
    assert (
        fresh(
            "import envtui.outside.ssh.library as ours, sys\n"
            "import paramiko\n"
            "print('paramiko.client' in sys.modules, paramiko.SSHClient.__name__, paramiko.PKey is ours.PKey)\n"
        )
        == "False SSHClient True"
    )


def test_the_parser_in_c_is_there_and_the_rest_of_pyyaml_too() -> None:
    assert (
        fresh(
            "from envtui.outside.trees.libyaml import CParser\n"
            "import yaml, yaml.reader\n"
            "print(yaml.safe_load('a: [1, on]'), yaml.load('b: 2', Loader=yaml.CSafeLoader), yaml.reader.Reader.__name__)\n"
            "print(type(CParser(b'a: 1').get_event()).__name__)\n"
        )
        == "{'a': [1, True]} {'b': 2} Reader\nStreamStartEvent"
    )


def test_what_is_imported_already_stays_as_it_is() -> None:
    assert (
        fresh(
            "import yaml, paramiko\n"
            "before = yaml.CSafeLoader, paramiko.Transport\n"
            "import envtui.outside.trees.libyaml, envtui.outside.ssh.library as library\n"
            "print(before == (yaml.CSafeLoader, library.Transport), paramiko.__version__ != 'envtui')\n"
        )
        == "True True"
    )


@pytest.mark.parametrize("name", ["no_such_package", "math"])
def test_what_is_no_package_is_left_alone(name: str) -> None:
    assert fresh(
        f"import sys; from envtui.outside.lean import lean; lean({name!r}); print({name!r} in sys.modules)"
    ) in (
        "False",
        str(name in sys.builtin_module_names),
    )


def test_a_module_is_away_only_inside() -> None:
    assert (
        fresh(
            "import sys; from envtui.outside.lean import without\n"
            "with without('wave'):\n"
            "    try: import wave\n"
            "    except ImportError: print('away')\n"
            "import wave\n"
            "with without('wave'):\n"
            "    import wave; print('there')\n"
            "print(sys.modules['wave'] is wave)\n"
        )
        == "away\nthere\nTrue"
    )
