"""Settings of the whole process, as threads and forked processes see them."""

import os
from contextlib import ExitStack

from pipeline.process import WhileInside


def test_a_process_forked_inside_of_a_setting_may_make_it_again() -> None:
    made = []
    setting = WhileInside(lambda: made.append(1) or ExitStack())
    with setting():
        child = os.fork()
    if not child:
        with setting():
            os._exit(len(made))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
