"""What exists twice, in C and in Python: the system calls and their memory."""
