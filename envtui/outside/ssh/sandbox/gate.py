"""The same as a file that a host's owner installs: what the server lets a key do (a forced command), and what sudo may start.

Stands behind `holding` and `keeping` in one file; imported by nobody. Of the client it takes what to run, never how it is held.

    envtui-gate [LETTERS [SECONDS]]                    forced command: runs SSH_ORIGINAL_COMMAND
    envtui-gate --read LETTERS NONCE SECONDS WORD...   from sudo; LETTERS stands first, so that sudoers can pin it

LETTERS: the needs that the owner allows, of n(etwork), s(ockets), r(oot); - for none.
"""

import os
import sys


def gate(words):
    if words[:1] == ["--read"]:
        letters, nonce, seconds, words = words[1], words[2], words[3], words[4:]
    else:
        letters, seconds = (words + ["-", "3600"][len(words) :])[:2]
        said = os.environ.pop("SSH_ORIGINAL_COMMAND", "")
        if not said:
            refuse("this key is for single reads; there is no login")
        os.environ["ENVTUI_GATE"] = letters
        nonce, words = "", ["/bin/sh", "-c", said]
    filters = FILTERS.get(letters.replace("r", "") or "-")
    if not filters:
        refuse("nobody knows the needs " + letters)
    main(filters, nonce, letters, seconds, words)


gate(sys.argv[1:])
