"""How long a test waits for another process to reach a state before it says that it hangs.

It is no part of what is tested: a busy machine may need many times what a quiet one needs.
"""

HANGS_S = 800
